"""``--optimizer masked_<name>``: every optimizer of fairseq, with pruned weights held at zero.

Importing this room registers the optimizers with fairseq.
"""

from fairseq_lottery.training.optimizers.masked_optimizer import MaskedOptimizer, zero_pruned_
from fairseq_lottery.training.optimizers.master_tensors import (
    MasterTensors,
    find_masked,
    is_masked,
    set_moments,
    start_exactly,
    zero_pruned_parameters,
)
from fairseq_lottery.training.optimizers.registration import (
    MASKED_OPTIMIZERS,
    register_masked_optimizers,
)

register_masked_optimizers()

__all__ = [
    "MASKED_OPTIMIZERS",
    "MaskedOptimizer",
    "MasterTensors",
    "find_masked",
    "is_masked",
    "set_moments",
    "start_exactly",
    "zero_pruned_",
    "zero_pruned_parameters",
]
