"""A training that SIGTERM or SIGUSR1 stops after the update it is at, and that can go on.

fairseq offers no such end, and a task sees no place between an update and what fairseq does
after it. So ``Stopping`` takes the place of ``validate_and_save`` in the module of fairseq's
training loop, which calls it on every process after every update, with all that a save needs.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
import time
from types import ModuleType
from typing import Any, Optional

from fairseq.checkpoint_utils import save_checkpoint

from fairseq_lottery.errors import STOPPED
from fairseq_lottery.training.processes.data_workers import protect_children
from fairseq_lottery.training.processes.ranks import highest_everywhere, wait_for_all

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

#: seconds in which the same signal again is still the same request: a process group is
#: signalled as a whole, and then torchrun passes the signal on to each of its processes
_ONE_REQUEST = 5.0


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
        protect_children(True)

    def end(self) -> None:
        """Put everything back as it was before the training."""
        protect_children(False)
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
        last = _is_last(cfg, trainer.get_num_updates(), epoch_itr.epoch, end_of_epoch)
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
            logger.info(
                "saved at update %d because of %s; the same command goes on from there",
                update,
                name,
            )
        self.end()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise SystemExit(STOPPED)


def _is_last(cfg: Any, update: int, epoch: int, end_of_epoch: bool) -> bool:
    """Whether the training is done with this update, whatever asks it to stop."""
    return update >= (cfg.optimization.max_update or math.inf) or (
        end_of_epoch and epoch >= (cfg.optimization.max_epoch or math.inf)
    )


def stop_on_signals() -> None:
    """Let ``SIGNALS`` stop the training that this process is about to begin.

    Called again, or outside of a training loop of fairseq's, it changes nothing; nor in a
    thread, where Python takes no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("__main__", "fairseq_cli.train"):  # run as a script, or imported
        module = sys.modules.get(name)
        if module is None or not hasattr(module, "validate_and_save"):
            continue
        if not isinstance(module.validate_and_save, Stopping):
            Stopping(module)
        return
