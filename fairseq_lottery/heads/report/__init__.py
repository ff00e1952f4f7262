"""What a report says about heads and units: the section that ``extensions`` asks for."""

from fairseq_lottery.heads.report.head_sections import section

__all__ = ["section"]
