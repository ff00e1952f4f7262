"""Tables, curves and pages out of finished runs; reads their files, never the workflow's code.

``write_report`` turns one or several folders of ``fairseq-lottery run`` into a report.
"""

from fairseq_lottery.report.build import write_report
from fairseq_lottery.report.groups import gather
from fairseq_lottery.report.published import load, names
from fairseq_lottery.report.records import read_run
from fairseq_lottery.report.style import size

__all__ = ["gather", "load", "names", "read_run", "size", "write_report"]
