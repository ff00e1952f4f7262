"""Sharing a ticket: one ZIP with all that training it elsewhere takes, but the text.

A ZIP names every member with its size before anything is decompressed, so that a bad archive is
refused unread, and every system opens it. The same ticket, command and files give the same bytes,
with the same release of zlib.
"""

from fairseq_lottery.tickets.pack.archive import pack
from fairseq_lottery.tickets.pack.train_command import TrainingCommand
from fairseq_lottery.tickets.pack.unpack import unpack

__all__ = ["TrainingCommand", "pack", "unpack"]
