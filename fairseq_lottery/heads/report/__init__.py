"""The section of a report about heads and units, which ``extensions`` loads."""

from fairseq_lottery.heads.report.head_sections import section

__all__ = ["section"]
