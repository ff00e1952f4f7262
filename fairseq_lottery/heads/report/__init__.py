"""What a report says about heads and units: a section, and the table of searches.

The two functions are what ``fairseq_lottery.extensions`` asks for.
"""

from fairseq_lottery.heads.report.head_sections import add_section
from fairseq_lottery.heads.report.search_table import search_table

__all__ = ["add_section", "search_table"]
