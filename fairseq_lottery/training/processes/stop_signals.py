"""A training that SIGTERM or SIGUSR1 stops after the update it is at, and that can go on.

fairseq offers no such end, and a task sees no place between an update and what fairseq does
after it. So ``Stopping`` takes the place of ``validate_and_save`` in the module of fairseq's
training loop, which calls it on every process after every update, with all that a save needs.
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
from fairseq_lottery.training.processes.ranks import highest_everywhere, wait_for_all

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

#: seconds in which the same signal again is still the same request: a process group is
#: signalled as a whole, and then torchrun passes the signal on to each of its processes
_ONE_REQUEST = 5.0

#: whether processes that are forked outlive the signals, and whether that is prepared
_protected = _registered = False


class Stopping:
    """fairseq's ``validate_and_save``, and the end of the training where a signal asks for it.

    Args:
        module: whose ``validate_and_save`` is replaced, until the training ends.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._validate_and_save = module.validate_and_save
        self._asked = 0
        self._since = 0.0
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        module.validate_and_save = self  # type: ignore[attr-defined]
        _protect_children(True)

    def end(self) -> None:
        """Put everything back as it was before the training."""
        _protect_children(False)
        self._module.validate_and_save = self._validate_and_save  # type: ignore[attr-defined]
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: object) -> None:
        """Remember a first signal; the same one again, later, ends the process at once."""
        if number == self._asked and time.monotonic() - self._since > _ONE_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        elif number != self._asked:
            self._asked, self._since = number, time.monotonic()

    def __call__(
        self,
        cfg: Any,
        trainer: Any,
        task: Any,
        epoch_itr: Any,
        valid_subsets: list[str],
        end_of_epoch: bool,
    ) -> tuple[list[Optional[float]], bool]:
        """After an update: save first if a signal came, then do what is due, then end.

        A validation that is due at this update belongs to the training and is not left out,
        or the training that goes on would choose another best checkpoint. None is added. The
        save comes before it, for a time limit may not wait for it.
        """
        asked = highest_everywhere(self._asked)
        until = cfg.optimization
        last = trainer.get_num_updates() >= (until.max_update or math.inf) or (
            end_of_epoch and epoch_itr.epoch >= (until.max_epoch or math.inf)
        )
        if asked and not last:
            save_checkpoint(cfg.checkpoint, trainer, epoch_itr, None)
        losses, finished = self._validate_and_save(
            cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch
        )
        if finished or last:
            self.end()
        elif asked:
            self._stop(cfg.checkpoint, asked, trainer.get_num_updates())
        return losses, finished

    def _stop(self, checkpoint: Any, asked: int, update: int) -> None:
        """End this process, once what the first one writes is written.

        torchrun and srun signal the others as soon as one has ended. They are ending, and stay
        ending with the exit code that says why.
        """
        wait_for_all()
        name = signal.Signals(asked).name
        if checkpoint.no_save or checkpoint.no_last_checkpoints:
            logger.warning("stopped at update %d because of %s, without saving", update, name)
        else:
            said = "saved at update %d because of %s; the same command goes on from there"
            logger.info(said, update, name)
        self.end()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(STOPPED)


def stop_on_signals() -> None:
    """Let ``SIGNALS`` stop the training that this process is about to begin.

    Called again, or outside of a training loop of fairseq's, it changes nothing; nor in a
    thread, where Python takes no signals.
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
    """From now on, let the processes that this one forks be ended by it alone, or no longer so.

    A scheduler sends SIGTERM to every process of a job. torch's data loaders would die of it, and
    the training fail for want of them before it could save. fairseq gives no way to run anything
    of ours in them when they start; Python does, in every process that is forked.
    """
    global _protected, _registered
    _protected = on
    if not _registered:
        _registered = True  # Python has no way back
        os.register_at_fork(after_in_child=_begin_child)


def _begin_child() -> None:
    if not _protected:
        return
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _obey(parent: int) -> None:
    """Wait for a SIGTERM from ``parent``, which sends it to those that are left at its end."""
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender == parent or os.getppid() != parent:  # or from anyone, when that is gone
            os._exit(0)
