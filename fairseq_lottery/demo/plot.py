"""The plot of a finished demo: BLEU over sparsity, a line for each method."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from fairseq_lottery.demo.plan import METHODS, PARTS, SPARSITIES
from fairseq_lottery.demo.results import Result

MARKERS = "os^D"


def draw_plot(path: Path, results: list[Result]) -> None:
    """Write the plot as a PNG; the dense model is the dashed line."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    found = {(result.run.method, result.run.sparsity): result for result in results}
    dense = found["dense", 0].bleu
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    axes.axhline(dense, color="0.4", linestyle="--", label=f"dense ({dense:.1f})")
    for method, marker in zip(METHODS, MARKERS):
        scores = [found[method, sparsity].bleu for sparsity in SPARSITIES]
        axes.plot(SPARSITIES, scores, marker=marker, label=method)
    axes.set_xticks(SPARSITIES)
    axes.set_xlim(SPARSITIES[0] - 3, SPARSITIES[-1] + 3)
    axes.set_ylim(0, 100)
    axes.set_xlabel("sparsity: pruned weights of all matrices, %")
    axes.set_ylabel("sacreBLEU")
    axes.set_title(f"Tickets against controls ({PARTS['test']} test sentences, one seed)")
    axes.grid(axis="y", color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, format="png", dpi=150)
    pyplot.close(figure)
