"""Techniques that take masks of other techniques: of other data sets, and with other start weights.

They are the comparisons of Chen et al. 2020 for pre-trained weights, and need none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.trainings.techniques import Cells, technique
from fairseq_lottery.workflow.trainings.training import Training
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary


def masked_runs(
    v: Vocabulary, masks: str, data: Optional[str] = None
) -> Iterator[tuple[float, Training]]:
    """Yield the trainings of another technique at the rows of this one.

    Args:
        data: its data set, by default that of this technique.

    Raises:
        LotteryError: it does not have a row.
    """
    data = v.dense.data if data is None else data
    assert v.plan_of is not None
    runs: dict[float, Training] = {}
    for sparsity, run in v.plan_of(data, masks):
        if run.pair_masks:
            raise LotteryError(
                f"{masks} has a mask for each pair of languages; set masks to imp or slt"
            )
        runs.setdefault(round(sparsity, 6), run)
    for row in v.sparsities:
        if round(row, 6) not in runs:
            raise LotteryError(
                f"{masks}{f' of {data}' if data else ''} has no mask of sparsity {row:g}; add the"
                " row there"
            )
        yield row, runs[round(row, 6)]


def _train_masks(v: Vocabulary, runs: Iterator[tuple[float, Training]], **axes: Any) -> Cells:
    """Train the masks of other trainings from this data set's start weights.

    Masks that were found before the first update are trained from there.
    """
    for sparsity, run in runs:
        is_initial = run.pruning is not None and run.pruning.is_initial
        start = v.dense.at(0 if is_initial else v.rewind_at(sparsity))
        yield sparsity, v.train(v.ticket(run, back=start, takes_mask=True, **axes))


@technique("transfer", "mask of", takes_others=True, option_of_data_sets="source")
def transferred_mask(v: Vocabulary, source: str = "", masks: str = "imp") -> Cells:
    """Train masks of another data set from this one's start weights (Chen et al. 2020, 4.3).

    The workflow plans it once for each data set in ``source``, by default for all of them.
    """
    runs = masked_runs(v, masks, source)
    return runs if source == v.dense.data else _train_masks(v, runs)


@technique("shuffled-layers", "shuffled layers", takes_others=True)
def shuffled_layers(v: Vocabulary, masks: str = "imp") -> Cells:
    """Train masks from start weights whose layers are permuted (Chen et al. 2020, table 2)."""
    return _train_masks(v, masked_runs(v, masks), reset="shuffle-layers")


@technique("fresh-weights", "fresh weights", takes_others=True)
def fresh_weights(v: Vocabulary, masks: str = "imp") -> Cells:
    """Train masks from new weights of the model's own initialiser (Chen et al. 2020, table 2)."""
    return _train_masks(v, masked_runs(v, masks), reset="random")


@technique("shuffled-masks", "shuffled masks", takes_others=True)
def shuffled_masks(v: Vocabulary, masks: str = "imp") -> Cells:
    """Train masks that are permuted within each matrix (Frankle et al. 2021)."""
    return _train_masks(v, masked_runs(v, masks), shuffle_mask=True)


@technique("noise", "noise", takes_others=True)
def noisy_weights(v: Vocabulary, scale: float = 0.1, masks: str = "imp") -> Cells:
    """Train masks from start weights plus noise of ``scale`` times their standard deviation."""
    return _train_masks(v, masked_runs(v, masks), reset="noise", noise_scale=scale)


@technique("pruned-before", "pruned before fine-tuning")
def pruned_before_fine_tuning(v: Vocabulary) -> Cells:
    """Prune the pre-trained weights at once, and fine-tune the rest (Chen et al. 2020, 4.3)."""
    start = v.pretrained
    for sparsity in v.sparsities:
        yield sparsity, v.train(v.ticket(start.training, sparsity, back=start))
