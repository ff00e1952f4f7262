"""fairseq's loss of masked language models that also logs sparsity and what training does."""

from fairseq.criterions import register_criterion
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss

from fairseq_lottery.training.criterions.logged_metrics import LogsFigures


@register_criterion("masked_lm_lottery", dataclass=MaskedLmConfig)
class MaskedLmLottery(LogsFigures, MaskedLmLoss):
    """The loss of masked tokens; see ``LogsFigures``."""
