"""A training that has reached its end: started again, it stays as it is.

fairseq's loop looks for the end only after an update. Started again, a finished training makes
one more, and writes its last and its best checkpoint anew.
"""

from __future__ import annotations

import logging
from typing import Any, Optional

from fairseq_lottery.compat import whole_config
from fairseq_lottery.training.processes.ranks import is_first
from fairseq_lottery.training.start.restored_checkpoint import Restored
from fairseq_lottery.training.training_settings import Settings

logger = logging.getLogger(__name__)


def keep_finished(cfg: Any, settings: Settings, restored: Optional[Restored], worse: int) -> bool:
    """Leave a training that has reached its end as it is; return whether it has.

    Args:
        worse: validations since the best one, from which fairseq counts on.
    """
    end = reached_end(settings, restored, worse)
    if restored is None or end is None:
        return False
    train_no_more(cfg)
    if is_first():
        logger.info(
            "%s belongs to a finished training (update %d, %s): no update is made, and its files"
            " stay unchanged",
            restored.path,
            restored.behind,
            end,
        )
    return True


def reached_end(settings: Settings, restored: Optional[Restored], worse: int) -> Optional[str]:
    """Return the flag whose end a checkpoint has reached, None where there is more to train.

    Only the last checkpoint of the training itself counts, and not what ``--reset-optimizer``
    and ``--reset-dataloader`` make fairseq forget.

    Args:
        worse: validations since the best one, from which fairseq counts on.
    """
    if restored is None or not restored.same_run:
        return None
    updates = 0 if settings.reset_optimizer else restored.behind
    epoch = 1 if settings.reset_dataloader else restored.next_epoch
    ends = {
        f"--max-update {settings.max_update}": 0 < settings.max_update <= updates,
        f"--max-epoch {settings.max_epoch}": 0 < settings.max_epoch < epoch,
        f"--stop-time-hours {settings.stop_time_hours:g}": (
            0 < settings.stop_time_hours < restored.hours
        ),
        f"--patience {settings.patience}": 0 < settings.patience <= worse,
    }
    return next((flag for flag, is_reached in ends.items() if is_reached), None)


def train_no_more(cfg: Any) -> None:
    """Let fairseq's loop over epochs, which is about to begin, end before the first.

    It compares the next epoch, 1 at least, with ``max_epoch``, whose 0 stands for no limit.
    """
    whole_config(cfg).optimization.max_epoch = -1
