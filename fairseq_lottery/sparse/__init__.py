"""Decode pruned models with sparse matrices on a CPU.

``sparsify`` takes any ``nn.Module``; ``--sparse-decode`` of the task calls it.
"""

from fairseq_lottery.sparse.sparse_decoding import Sparse, sparsify

__all__ = ["Sparse", "sparsify"]
