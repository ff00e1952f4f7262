"""``--optimizer masked_<name>``: fairseq's optimizers, which keep pruned weights at zero.

Importing this package registers the optimizers with fairseq.
"""

from fairseq_lottery.training.optimizers.masked_optimizer import MaskedOptimizer, zero_pruned_
from fairseq_lottery.training.optimizers.master_tensors import (
    MasterTensors,
    find_masked,
    is_masked,
    load_exact_values,
    set_moments,
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
    "load_exact_values",
    "zero_pruned_",
    "zero_pruned_parameters",
]
