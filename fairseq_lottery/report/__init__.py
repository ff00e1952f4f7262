"""Tables, plots and pages of finished runs, from their files, without the workflow's code.

``write_report`` turns folders of ``fairseq-lottery run`` into a report. The public names are
imported at first use, because ``fairseq-lottery run`` reads published figures without torch.
"""

from typing import TYPE_CHECKING

from fairseq_lottery.lazy_names import lazy_names

if TYPE_CHECKING:
    from fairseq_lottery.report.build import write_report
    from fairseq_lottery.report.plots.drawings import size
    from fairseq_lottery.report.reading.published import load, names
    from fairseq_lottery.report.reading.recipe_groups import gather
    from fairseq_lottery.report.reading.records import read_run

__all__ = ["gather", "load", "names", "read_run", "size", "write_report"]

_MODULES = {
    "gather": "reading.recipe_groups",
    "load": "reading.published",
    "names": "reading.published",
    "read_run": "reading.records",
    "size": "plots.drawings",
    "write_report": "build",
}

__getattr__ = lazy_names(__name__, _MODULES)
