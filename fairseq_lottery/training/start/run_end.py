"""A training that has reached its end, ``--patience`` included: started again, it stays as it is.

fairseq's loop looks for the end only after an update. Started again, a finished training makes
one more, and writes its last and its best checkpoint anew. Nor does fairseq save how long
``--patience`` has waited: a run that is killed and resumed would stop later than one that is not.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Optional

from fairseq_lottery.training.processes.ranks import is_first
from fairseq_lottery.training.start.restored_checkpoint import Restored

logger = logging.getLogger(__name__)

#: names under which fairseq's command is loaded, as a module or as the program itself
_MODULES = ("__main__", "__mp_main__", "fairseq_cli.train")


def keep_finished(training: Any, restored: Restored, worse: int) -> bool:
    """Leave a training that has reached its end as it is; return whether it has.

    Args as for ``reached_end``.
    """
    end = reached_end(training, restored, worse)
    if end is None:
        return False
    # the loop over epochs, which is about to begin, compares the next epoch, 1 at least, with
    # ``max_epoch``, whose 0 stands for no limit
    training.optimization.max_epoch = -1
    if is_first():
        logger.info(
            f"{restored.path} belongs to a finished training (update {restored.behind}, {end}): no"
            " update is made, and its files stay unchanged"
        )
    return True


def reached_end(training: Any, restored: Restored, worse: int) -> Optional[str]:
    """Return the flag whose end a checkpoint has reached, None where there is more to train.

    Only the last checkpoint of the training itself counts, and not what ``--reset-optimizer``
    and ``--reset-dataloader`` make fairseq forget.

    Args:
        training: fairseq's whole configuration.
        worse: validations since the best one, from which fairseq counts on.
    """
    if not restored.same_run:
        return None
    until, checkpoint = training.optimization, training.checkpoint
    updates = 0 if checkpoint.reset_optimizer else restored.behind
    epoch = 1 if checkpoint.reset_dataloader else restored.next_epoch
    ends = {
        f"--max-update {until.max_update}": 0 < until.max_update <= updates,
        f"--max-epoch {until.max_epoch}": 0 < until.max_epoch < epoch,
        f"--stop-time-hours {until.stop_time_hours:g}": 0 < until.stop_time_hours < restored.hours,
        f"--patience {checkpoint.patience}": 0 < checkpoint.patience <= worse,
    }
    return next((flag for flag, is_reached in ends.items() if is_reached), None)


def patience_state() -> Optional[dict[str, float]]:
    """The best validation so far and the number of worse ones since; None where none counts.

    fairseq counts on attributes of a function. Removable when it keeps them in its checkpoints.
    """
    for function in _functions():
        if getattr(function, "best", None) is not None:
            return {"best": float(function.best), "num_runs": int(function.num_runs)}
    return None


def restore_patience(training: Any, restored: Restored) -> int:
    """Let fairseq count on, unless it is to forget its best validation as well.

    Returns:
        the number of worse validations since the best one, from which it counts on.
    """
    stored, checkpoint = restored.state.get("patience"), training.checkpoint
    if not stored or checkpoint.reset_meters or checkpoint.reset_dataloader:
        return 0
    for function in _functions():
        function.best, function.num_runs = stored["best"], stored["num_runs"]
    return int(stored["num_runs"])


def _functions() -> list[Any]:
    """``should_stop_early`` of every copy of the command; only one of them is called."""
    modules = (sys.modules.get(name) for name in _MODULES)
    found = (getattr(module, "should_stop_early", None) for module in modules)
    return [function for function in found if function is not None]
