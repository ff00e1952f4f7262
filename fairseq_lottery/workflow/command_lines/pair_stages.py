"""The stage that draws masks of pairs of languages: it calls ``fairseq-lottery pair-masks``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fairseq_lottery import options
from fairseq_lottery.options import DRAW, Prunable, Ranking
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.trainings.training import Training, planned_files


def pair_stages(training: Training, lottery: Callable[..., tuple[str, ...]]) -> Iterator[Stage]:
    """Yield the stage that draws the masks of pairs of a training, if it has such masks.

    Args:
        lottery: words of ``fairseq-lottery`` -> a command line.
    """
    drawn = training.ticket
    if drawn is None or not drawn.pair_masks:
        return
    # the weights that fine-tuning started from; a start at t only sets the update counter
    dense = drawn.mask_from
    base = dense.at(dense.updates) if drawn.reset == "keep" else drawn.start
    sources = {",".join(mask.pairs): mask.weights.file for mask in drawn.pair_masks}
    words: list[object] = ["pair-masks", "--sparsity", f"{drawn.sparsity:.10g}"]
    words += options.words(drawn, Ranking, Prunable, place=DRAW)
    words += ["--start-from", base.file, "--seed", training.seed]
    words += ["--out", training.pair_masks_file, "--overwrite"]
    words += [f"{pairs}={file}" for pairs, file in sources.items()]
    yield Stage(
        kind="masks",
        folder=training.folder,
        title=f"draw the masks of pairs of {training.title}",
        command=lottery(*words),
        needs=planned_files(*sources.values(), base.file),
        leaves=(training.pair_masks_file,),
        facts={"masks": len(drawn.pair_masks)},
    )
