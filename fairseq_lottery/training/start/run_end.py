"""Recognition of a finished training, which must not change when it is started again.

fairseq's loop checks for the end only after an update. So a finished training that is started again
would make one more update and overwrite its last and best checkpoints. fairseq also does not save
the count of ``--patience``, so a resumed run would stop later than an uninterrupted one.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Optional

from fairseq_lottery.training.processes.ranks import is_first
from fairseq_lottery.training.start.restored_checkpoint import Restored

logger = logging.getLogger(__name__)

#: module names of fairseq's command, imported or run as a program
_MODULES = ("__main__", "__mp_main__", "fairseq_cli.train")


def stop_if_finished(training: Any, restored: Restored, worse: int) -> bool:
    """Make no update in a finished training; return whether it is finished.

    Arguments are those of ``reached_end``.
    """
    end = reached_end(training, restored, worse)
    if end is None:
        return False
    # the loop over epochs compares the next epoch (at least 1) with max_epoch; 0 means no limit
    training.optimization.max_epoch = -1
    if is_first():
        logger.info(
            f"{restored.path} belongs to a finished training (update {restored.trained}, {end}); no"
            " update is made, and no file changes"
        )
    return True


def reached_end(training: Any, restored: Restored, worse: int) -> Optional[str]:
    """Return the flag whose limit a checkpoint has reached; None if the training continues.

    Only the last checkpoint of the same training counts. ``--reset-optimizer`` resets its updates,
    and ``--reset-dataloader`` its epochs.

    Args:
        training: fairseq's complete configuration.
        worse: number of validations since the best one.
    """
    if not restored.is_same_run:
        return None
    limits, checkpoint = training.optimization, training.checkpoint
    hours = limits.stop_time_hours
    updates = 0 if checkpoint.reset_optimizer else restored.trained
    epoch = 1 if checkpoint.reset_dataloader else restored.next_epoch
    ends = {
        f"--max-update {limits.max_update}": 0 < limits.max_update <= updates,
        f"--max-epoch {limits.max_epoch}": 0 < limits.max_epoch < epoch,
        f"--stop-time-hours {hours:g}": 0 < hours < restored.hours,
        f"--patience {checkpoint.patience}": 0 < checkpoint.patience <= worse,
    }
    return next((flag for flag, is_reached in ends.items() if is_reached), None)


def patience_state() -> Optional[dict[str, float]]:
    """Return the best validation and the number of worse ones since; None without patience.

    fairseq stores both as attributes of a function. Removable when checkpoints store them.
    """
    for function in _functions():
        if getattr(function, "best", None) is not None:
            return {"best": float(function.best), "num_runs": int(function.num_runs)}
    return None


def restore_patience(training: Any, restored: Restored) -> int:
    """Restore fairseq's count of validations, unless flags reset the best validation.

    Returns:
        Number of worse validations since the best one.
    """
    stored, checkpoint = restored.state.get("patience"), training.checkpoint
    if not stored or checkpoint.reset_meters or checkpoint.reset_dataloader:
        return 0
    for function in _functions():
        function.best, function.num_runs = stored["best"], stored["num_runs"]
    return int(stored["num_runs"])


def _functions() -> list[Any]:
    """Return ``should_stop_early`` of every loaded copy of the command; fairseq calls one."""
    modules = (sys.modules.get(name) for name in _MODULES)
    functions = (getattr(module, "should_stop_early", None) for module in modules)
    return [function for function in functions if function is not None]
