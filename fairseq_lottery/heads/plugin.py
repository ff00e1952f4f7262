"""The criterion that this extension registers with fairseq; its code is loaded on demand."""

# fairseq evaluates the annotations of its dataclasses, so they are not postponed here
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterionConfig

from fairseq_lottery.training.criterions import LabelSmoothedCrossEntropyLottery


def _open_count(kind: str) -> Any:
    # argparse formats a help text, so percent signs are doubled
    text = f"{kind} whose gates stay open: a number, such as 24, or a share, such as 50%%"
    return field(default=None, metadata={"help": text})


@dataclass
class GatedConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """How many gates of each kind stay open; a kind without a number has no gates."""

    open_heads: Optional[str] = _open_count("attention heads")
    open_units: Optional[str] = _open_count("FFN units")
    open_blocks: Optional[str] = _open_count("FFN blocks")
    gate_anneal: int = field(
        default=1000, metadata={"help": "updates until the target numbers apply in full"}
    )


#: settings of this criterion that fairseq's own does not have
FLAGS = tuple(GatedConfig.__annotations__)


@register_criterion("label_smoothed_cross_entropy_gates", dataclass=GatedConfig)
class LabelSmoothedCrossEntropyGates(LabelSmoothedCrossEntropyLottery):
    """The name in fairseq's registry; it builds the class in ``heads.gates.gated_criterion``."""

    @classmethod
    def build_criterion(cls, cfg: GatedConfig, task: Any) -> Any:
        """Build the criterion; its gates learn while ``task`` trains."""
        from fairseq_lottery.heads.gates import gated_criterion

        return gated_criterion.LabelSmoothedCrossEntropyGates.build_criterion(cfg, task)
