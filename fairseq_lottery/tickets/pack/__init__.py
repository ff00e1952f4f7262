"""Sharing a ticket: one archive with all that training it elsewhere takes, but the text.

The archive is a ZIP with deflated members:

- Its index names every member with its size before anything is decompressed, so that a bad
  archive is refused unread; a tar has to be read through, and knows links and devices.
- Every system opens it without a tool of ours.
- Deflating pays. A random 90 % ticket of four 512 x 2048 matrices has 2.20 MB; deflated it has
  1.85 MB (84 %; LZMA 82 %), and with sign resets, whose survivors have two values only,
  0.40 MB (18 %; LZMA 15 %). LZMA's gain is smaller than the number of tools that lack it.

The same ticket, command and files give the same bytes, with the same release of zlib.
"""

from fairseq_lottery.tickets.pack.archive import Packed, pack
from fairseq_lottery.tickets.pack.train_command import TrainingCommand
from fairseq_lottery.tickets.pack.unpack import unpack

__all__ = ["Packed", "TrainingCommand", "pack", "unpack"]
