"""How long ``--patience`` has waited for a better validation, which fairseq does not save.

It counts on attributes of a function, so a run that is killed and resumed would count anew and
stop later than one that is not. Removable when fairseq keeps the count in its checkpoints.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Optional

from fairseq_lottery.compat import whole_config

#: names under which fairseq's command is loaded, as a module or as the program itself
_MODULES = ("__main__", "__mp_main__", "fairseq_cli.train")


def patience_state() -> Optional[dict[str, float]]:
    """The best validation so far and the number of worse ones since; None where none counts."""
    for function in _functions():
        if getattr(function, "best", None) is not None:
            return {"best": float(function.best), "num_runs": int(function.num_runs)}
    return None


def restore_patience(cfg: Any, stored: Optional[Mapping[str, float]]) -> int:
    """Let fairseq count on, unless ``cfg`` lets it forget its best validation as well.

    Returns:
        the number of worse validations since the best one, from which it counts on.
    """
    checkpoint = whole_config(cfg).checkpoint
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
