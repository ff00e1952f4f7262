"""Share a ticket as one ZIP with everything that its training requires except the text.

A ZIP lists every member with its size, so invalid archives are refused before decompression, and
every system can open it. The same ticket, command and files give the same bytes with the same
release of zlib.
"""

from fairseq_lottery.tickets.pack.archive import pack
from fairseq_lottery.tickets.pack.train_command import TrainingCommand
from fairseq_lottery.tickets.pack.unpack import unpack

__all__ = ["TrainingCommand", "pack", "unpack"]
