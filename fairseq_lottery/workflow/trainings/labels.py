"""Labels: names of trainings in folders and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fairseq_lottery.options.axes import SCORE
from fairseq_lottery.workflow.trainings.pair_mask import pair_words

if TYPE_CHECKING:
    from fairseq_lottery.workflow.trainings.draw import Draw
    from fairseq_lottery.workflow.trainings.training import Training


def label_of(training: Training) -> str:
    """Return the name of a training, such as ``rewind5000-0.9``; not unique."""
    parts = []
    if training.ticket is not None and not training.is_fine_tuning:
        parts = _ticket_words(training, training.ticket)
    if training.pruning is not None:
        parts += [training.pruning.label, f"{training.pruning.sparsity:g}"]
    return "-".join(parts) or "dense"


def _ticket_words(training: Training, drawn: Draw) -> list[str]:
    score = SCORE.stored_name(drawn.score)
    words = [score.replace(":", ".")] if score != "magnitude" else []
    words += [drawn.scope.replace(":", "of")] if drawn.scope != "layer" else []
    if drawn.mask_from.pretrained is not None:
        words.append("pretrained")
    elif drawn.mask_from.data != training.data:
        words.append(f"of-{drawn.mask_from.data}")
    words += pair_words(training)
    if training.updates:
        words.append(f"{drawn.reset}{drawn.start.update}")
    else:
        words.append("zeroshot" if drawn.components is None else "closed")
    if drawn.components is None:
        return [*words, f"{drawn.sparsity:g}", *(["shuffled"] if drawn.shuffle_mask else [])]
    return [*words, drawn.components.label, *([f"{drawn.sparsity:g}"] if drawn.sparsity else [])]
