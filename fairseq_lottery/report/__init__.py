"""Tables, curves and pages out of finished runs; reads their files, never the workflow's code.

``write_report`` turns one or several folders of ``fairseq-lottery run`` into a report. The public
names are imported at first use: ``fairseq-lottery run`` reads the names of published figures
without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_lottery.report.build import write_report
    from fairseq_lottery.report.groups import gather
    from fairseq_lottery.report.published import load, names
    from fairseq_lottery.report.records import read_run
    from fairseq_lottery.report.style import size

__all__ = ["gather", "load", "names", "read_run", "size", "write_report"]

_MODULES = {
    "gather": "groups",
    "load": "published",
    "names": "published",
    "read_run": "records",
    "size": "style",
    "write_report": "build",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
