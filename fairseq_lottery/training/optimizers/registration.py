"""Registration of ``masked_<name>`` for every optimizer of fairseq."""

from __future__ import annotations

from typing import Any

from fairseq.optim import (
    OPTIMIZER_DATACLASS_REGISTRY,
    OPTIMIZER_REGISTRY,
    FairseqOptimizer,
    register_optimizer,
)

from fairseq_lottery.compat import scale_steps_apart
from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.training.optimizers.masked_optimizer import MaskedOptimizer

#: ``masked_<name>`` -> class
MASKED_OPTIMIZERS: dict[str, type[FairseqOptimizer]] = {}


def _init(name: str) -> Any:
    """Return an initialiser that reports in one sentence why an optimizer cannot be built."""

    def __init__(self: Any, cfg: Any, *args: Any, **kwargs: Any) -> None:
        with one_sentence():
            if name == "composite":
                raise LotteryError(
                    "masked_composite is not supported, as it contains several optimizers; choose a"
                    " single one such as masked_adam"
                )
            try:
                super(MASKED_OPTIMIZERS[f"masked_{name}"], self).__init__(cfg, *args, **kwargs)
            except ImportError as error:
                raise LotteryError(f"masked_{name} cannot be built: {error}") from error
            if name == "adafactor":
                scale_steps_apart(self.optimizer)

    return __init__


def register_masked_optimizers() -> None:
    """Register the masked form of each optimizer, with the same flags."""
    for name, base in list(OPTIMIZER_REGISTRY.items()):
        masked = f"masked_{name}"
        if name.startswith("masked_") or masked in OPTIMIZER_REGISTRY:
            continue
        cls = type(
            f"Masked{base.__name__}",
            (MaskedOptimizer, base),
            {"__init__": _init(name), "__doc__": f"{base.__name__} under a mask."},
        )
        MASKED_OPTIMIZERS[masked] = cls
        register_optimizer(masked, dataclass=OPTIMIZER_DATACLASS_REGISTRY.get(name))(cls)
