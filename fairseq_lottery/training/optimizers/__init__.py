"""``--optimizer masked_<name>``: fairseq's optimizers, which keep pruned weights at zero.

Importing this package registers the optimizers with fairseq.
"""

from fairseq_lottery.training.optimizers.device_mask import (
    DeviceMask,
    zero_pruned_,
    zero_pruned_parameters,
)
from fairseq_lottery.training.optimizers.masked_optimizer import (
    MaskedOptimizer,
    find_masked,
    is_masked,
)
from fairseq_lottery.training.optimizers.master_tensors import MasterTensors
from fairseq_lottery.training.optimizers.registration import (
    MASKED_OPTIMIZERS,
    register_masked_optimizers,
)
from fairseq_lottery.training.optimizers.ticket_values import load_exact_values, set_moments

register_masked_optimizers()

__all__ = [
    "MASKED_OPTIMIZERS",
    "DeviceMask",
    "MaskedOptimizer",
    "MasterTensors",
    "find_masked",
    "is_masked",
    "load_exact_values",
    "set_moments",
    "zero_pruned_",
    "zero_pruned_parameters",
]
