"""Faster beam search: a decoder's steps, in compiled code on a CPU, and the best tokens of each.

``accelerate`` takes a generator of fairseq; ``--sparse-decode`` of the task calls it.
"""

from fairseq_lottery.decoding.acceleration import accelerate

__all__ = ["accelerate"]
