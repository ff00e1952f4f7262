"""``--optimizer masked_<name>``: every optimizer of fairseq, with pruned weights held at zero.

Importing this room registers the optimizers with fairseq.
"""

from fairseq_lottery.optim.masked import MaskedOptimizer
from fairseq_lottery.optim.register import MASKED_OPTIMIZERS, register_masked_optimizers
from fairseq_lottery.optim.tensors import MasterTensors, find_masked, set_moments

register_masked_optimizers()

__all__ = [
    "MASKED_OPTIMIZERS",
    "MaskedOptimizer",
    "MasterTensors",
    "find_masked",
    "set_moments",
]
