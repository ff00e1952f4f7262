"""Draw, reset, average, inspect, check and pack tickets.

A ticket is a mask plus the weights that training starts from, with a record of their
provenance. ``fairseq_lottery.formats`` reads and writes its file. fairseq is not imported.
"""

from fairseq_lottery.tickets.draw import draw
from fairseq_lottery.tickets.draw_plan import DrawPlan
from fairseq_lottery.tickets.resets import ALPHAS, RESETS, ResetInput

__all__ = ["ALPHAS", "DrawPlan", "RESETS", "ResetInput", "draw"]
