"""What is collected about one group of runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from fairseq_lottery.report.pages import Block, Text
from fairseq_lottery.report.reading.groups import Group
from fairseq_lottery.report.statistics.significance import Comparison


@dataclass
class Section:
    """The blocks about one group, and every comparison that was tested for it."""

    group: Group
    blocks: list[Block] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)

    def add(self, block: Optional[Block], otherwise: str = "") -> None:
        """Add a block, or the sentence why it is not there."""
        if block is not None:
            self.blocks.append(block)
        elif otherwise:
            self.blocks.append(Text(otherwise))
