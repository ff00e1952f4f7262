"""The criterion that heads and FFN units register with fairseq; its code is loaded on demand."""

# fairseq evaluates the annotations of its dataclasses, so they are not postponed here
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterionConfig

from fairseq_lottery.training.criterions import LabelSmoothedCrossEntropyLottery


def _asked(parts: str) -> Any:
    # argparse formats a help text: its percent signs are doubled
    said = f"{parts} that shall stay open: a number, as 24, or a share, as 50%%"
    return field(default=None, metadata={"help": said})


@dataclass
class GatedConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """How many parts shall stay open, or what share; kinds without a number have no gates."""

    open_heads: Optional[str] = _asked("attention heads")
    open_units: Optional[str] = _asked("FFN units")
    open_blocks: Optional[str] = _asked("FFN blocks")
    gate_anneal: int = field(
        default=1000, metadata={"help": "updates until these numbers count in full"}
    )


#: settings that this criterion has beside those of fairseq's
FLAGS = tuple(GatedConfig.__annotations__)


@register_criterion("label_smoothed_cross_entropy_gates", dataclass=GatedConfig)
class LabelSmoothedCrossEntropyGates(LabelSmoothedCrossEntropyLottery):
    """The name in fairseq's registry; what it builds is ``heads.gates.gated_criterion``'s."""

    @classmethod
    def build_criterion(cls, cfg: GatedConfig, task: Any) -> Any:
        """Build the criterion, whose gates learn while ``task`` trains."""
        from fairseq_lottery.heads.gates import gated_criterion

        return gated_criterion.LabelSmoothedCrossEntropyGates.build_criterion(cfg, task)
