"""What survivors start from: draw, reset, store and load a ticket. No fairseq here.

A ticket is a mask plus the weights that training starts from, with a record of where both
came from.
"""

from fairseq_lottery.tickets.container import digest_of as ticket_digest
from fairseq_lottery.tickets.dictionaries import Dictionaries, read_dictionaries
from fairseq_lottery.tickets.draw import draw
from fairseq_lottery.tickets.maskstate import mask_from_state, mask_to_state
from fairseq_lottery.tickets.parameters import is_parameter, trainable, untie
from fairseq_lottery.tickets.resets import ALPHAS, RESETS, ResetInput
from fairseq_lottery.tickets.snapshot import load_snapshot, save_snapshot
from fairseq_lottery.tickets.sources import Source, read_checkpoint, read_source
from fairseq_lottery.tickets.ticket import Ticket, load_ticket, save_ticket

__all__ = [
    "ALPHAS",
    "Dictionaries",
    "RESETS",
    "ResetInput",
    "Source",
    "Ticket",
    "draw",
    "is_parameter",
    "load_snapshot",
    "load_ticket",
    "mask_from_state",
    "mask_to_state",
    "read_checkpoint",
    "read_dictionaries",
    "read_source",
    "save_snapshot",
    "save_ticket",
    "ticket_digest",
    "trainable",
    "untie",
]
