"""Stop a training after the current update on SIGTERM or SIGUSR1, so that it can resume.

fairseq cannot stop this way, and it calls no function of a task between an update and the
validation after the update. So ``Stopping`` replaces ``validate_and_save`` in the module of
fairseq's training loop. The loop calls it on every process after every update, with all arguments
that saving requires.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from types import ModuleType
from typing import Any, Optional

from fairseq.checkpoint_utils import save_checkpoint

from fairseq_lottery.errors import STOPPED
from fairseq_lottery.training.processes.ranks import max_over_processes, wait_for_all

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

#: seconds during which a repeated signal is the same request: a process group receives a signal,
#: and then torchrun forwards it to each of its processes
_ONE_REQUEST = 5.0

#: whether forked processes ignore the signals, and whether the fork handler is registered
_protected = _registered = False


class Stopping:
    """Replacement for ``validate_and_save`` that ends the training after a signal.

    Args:
        module: module whose ``validate_and_save`` is replaced until the training ends.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._validate_and_save = module.validate_and_save
        self._signal = 0
        self._since = 0.0
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        module.validate_and_save = self  # type: ignore[attr-defined]
        _protect_children(True)

    def end(self) -> None:
        """Restore the module and the signal handlers."""
        _protect_children(False)
        self._module.validate_and_save = self._validate_and_save  # type: ignore[attr-defined]
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: object) -> None:
        """Record a first signal; end the process at once if the same one comes again later."""
        if number == self._signal and time.monotonic() - self._since > _ONE_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif number != self._signal:
            self._signal, self._since = number, time.monotonic()

    def __call__(
        self,
        cfg: Any,
        trainer: Any,
        task: Any,
        epoch_itr: Any,
        valid_subsets: list[str],
        end_of_epoch: bool,
    ) -> tuple[list[Optional[float]], bool]:
        """Validate and save as fairseq does; after a signal, save first and end the training.

        A validation that is due at this update is not skipped, because otherwise the resumed
        training would select another best checkpoint. No validation is added. The checkpoint is
        saved before the validation, which a time limit may interrupt.
        """
        number = max_over_processes(self._signal)
        limits = cfg.optimization
        is_last = trainer.get_num_updates() >= (limits.max_update or math.inf) or (
            end_of_epoch and epoch_itr.epoch >= (limits.max_epoch or math.inf)
        )
        if number and not is_last:
            save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
        losses, finished = self._validate_and_save(
            cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch
        )
        if finished or is_last:
            self.end()
        elif number:
            self._stop(cfg.checkpoint, number, trainer.get_num_updates())
        return losses, finished

    def _stop(self, checkpoint: Any, number: int, update: int) -> None:
        """End this process after the first one has written its files.

        torchrun and srun signal the other processes as soon as one process has ended. All processes
        ignore these signals, so that all exit with ``STOPPED``.
        """
        wait_for_all()
        name = signal.Signals(number).name
        if checkpoint.no_save or checkpoint.no_last_checkpoints:
            logger.warning("stopped at update %d by %s without saving", update, name)
        else:
            logger.info("saved at update %d after %s; run the same command to resume", update, name)
        self.end()
        for ignored in SIGNALS:
            signal.signal(ignored, signal.SIG_IGN)
        raise SystemExit(STOPPED)


def stop_on_signals() -> None:
    """Let ``SIGNALS`` stop the training that this process is about to begin.

    Change nothing if this was called before, outside of fairseq's training loop, or in a thread,
    where Python handles no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("__main__", "fairseq_cli.train"):  # run as a script, or imported
        module = sys.modules.get(name)
        if module is not None and hasattr(module, "validate_and_save"):
            if not isinstance(module.validate_and_save, Stopping):
                Stopping(module)
            return


def _protect_children(on: bool) -> None:
    """Set whether processes that this one forks ignore signals of other processes.

    A scheduler sends SIGTERM to every process of a job. It would kill torch's data loaders, and the
    training would fail before it could save. fairseq cannot call our function when a data loader
    starts, but Python can call it in every forked process.
    """
    global _protected, _registered
    _protected = on
    if not _registered:
        _registered = True  # Python cannot unregister
        os.register_at_fork(after_in_child=_begin_child)


def _begin_child() -> None:
    if not _protected:
        return
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    """End this process on SIGTERM from ``parent``, or from any sender after its end."""
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender == parent or os.getppid() != parent:
            os._exit(0)
