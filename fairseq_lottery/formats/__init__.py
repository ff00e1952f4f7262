"""Read and write files with weights: checkpoints, tickets, snapshots and compact models.

``read_source`` reads any of them. fairseq is not imported.
"""

from fairseq_lottery.formats.checkpoints.checkpoint import read_checkpoint
from fairseq_lottery.formats.checkpoints.tied_parameters import is_parameter, trainable, untie
from fairseq_lottery.formats.container import digest_of as ticket_digest
from fairseq_lottery.formats.dictionaries import Dictionaries, read_dictionaries
from fairseq_lottery.formats.mask_state import (
    load_mask,
    mask_from_state,
    mask_to_state,
    save_mask,
)
from fairseq_lottery.formats.snapshot import save_snapshot
from fairseq_lottery.formats.source import Source, read_source
from fairseq_lottery.formats.ticket import Ticket, load_ticket, save_ticket

__all__ = [
    "Dictionaries",
    "Source",
    "Ticket",
    "is_parameter",
    "load_mask",
    "load_ticket",
    "mask_from_state",
    "mask_to_state",
    "read_checkpoint",
    "read_dictionaries",
    "read_source",
    "save_mask",
    "save_snapshot",
    "save_ticket",
    "ticket_digest",
    "trainable",
    "untie",
]
