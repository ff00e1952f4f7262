"""The table of a finished demo, on the terminal and as a page."""

from __future__ import annotations

from rich.table import Table

from fairseq_lottery.demo.measure import DENOMINATOR
from fairseq_lottery.demo.plan import METHODS, PARTS, SPARSITIES, Recipe
from fairseq_lottery.demo.results import CHANCE, Place, Result, order_line, versions


def rows(results: list[Result]) -> list[list[str]]:
    """Method, then BLEU when dense and at each sparsity."""
    found = {(result.run.method, result.run.sparsity): result for result in results}
    dense = ["dense", f"{found['dense', 0].bleu:.1f}", *["" for _ in SPARSITIES]]
    return [dense] + [
        [method, "", *(f"{found[method, sparsity].bleu:.1f}" for sparsity in SPARSITIES)]
        for method in METHODS
    ]


def headings() -> list[str]:
    """The columns of ``rows``."""
    return ["method", "0 %", *(f"{sparsity} %" for sparsity in SPARSITIES)]


def terminal_table(results: list[Result]) -> Table:
    """The table for a terminal."""
    table = Table(title="sacreBLEU by sparsity")
    for number, heading in enumerate(headings()):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows(results):
        table.add_row(*row)
    return table


def basis(recipe: Recipe) -> str:
    """What every number stands on."""
    return (
        f"{PARTS['test']} test sentences, {recipe.updates} updates for every run,"
        f" one seed ({recipe.seed})"
    )


def order_lines(order: dict[int, list[Place]]) -> list[str]:
    """The order that was found, one line a sparsity."""
    return [f"at {sparsity} %: {order_line(places)}" for sparsity, places in order.items()]


def page(
    recipe: Recipe, results: list[Result], order: dict[int, list[Place]], seconds: float
) -> str:
    """The results as a Markdown page."""
    table = [headings(), ["---", *["---:" for _ in headings()[1:]]], *rows(results)]
    measured = [
        f"- {result.run.name}: {result.zeros.pruned} of {result.zeros.prunable}"
        f" ({result.zeros.sparsity:.2%})"
        for result in results
    ]
    return "\n".join(
        [
            "# Lottery tickets on a small invented translation task",
            "",
            *(f"| {' | '.join(row)} |" for row in table),
            "",
            f"sacreBLEU: {basis(recipe)}.",
            f"Signature: `{results[0].signature}`.",
            "",
            "SLT, sign-only and the random mask are drawn in rounds: each sparsity has a dense"
            " training and every round before it behind it. Magnitude pruning is one training"
            " per sparsity. Learning rate and updates were chosen on the dense model, its width"
            " so that losses show; nothing was chosen for one method.",
            "",
            f"The order found (`>`: sacreBLEU's paired bootstrap finds a difference on these"
            f" sentences, p < {CHANCE}; `~`: it finds none; other seeds are not asked):",
            "",
            *(f"- {line}" for line in order_lines(order)),
            "",
            "![sacreBLEU by sparsity](results.png)",
            "",
            f"Sparsity as measured: zeros among the prunable weights ({DENOMINATOR}).",
            "",
            *measured,
            "",
            f"Versions: {', '.join(f'{name} {found}' for name, found in versions().items())}.",
            f"This start of the demo took {seconds:.0f} s; `results.json` has every command.",
            "",
        ]
    )
