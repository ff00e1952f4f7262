"""Store the matrices of trained models in forms that multiply faster on a CPU.

``sparsify`` and ``pack`` take any ``nn.Module``; ``fairseq_lottery.decoding`` calls them.
"""

from fairseq_lottery.sparse.sparse_decoding import Sparse, pack, sparsify

__all__ = ["Sparse", "pack", "sparsify"]
