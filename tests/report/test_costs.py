"""Operations behind the cells of a report: the table, the Pareto front and its plot."""

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.made import Made
from small import PROPERTY

pytest.importorskip("matplotlib")
from PIL import Image  # noqa: E402

from fairseq_lottery.report import gather, read_run, size  # noqa: E402
from fairseq_lottery.report.plots import cost_plots  # noqa: E402
from fairseq_lottery.report.plots.cost_plots import cost_plot, pareto_front  # noqa: E402
from fairseq_lottery.report.reading.table_words import Evaluation  # noqa: E402
from fairseq_lottery.report.tables.cost_tables import flops_table  # noqa: E402

BLEU = Evaluation("test", "best-beam4-lenpen0.6", "BLEU")
#: (technique, sparsity) -> multiples of the dense training: dense, sparse
COSTS = {
    ("dense", 0.0): (1, 1),
    ("slt", 0.5): (2, 1.6),
    ("slt", 0.9): (3, 1.75),
    ("mp", 0.5): (1, 0.8),
}


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path / "a", techniques=("slt", "mp"), seeds=(1, 2)).score()


def with_costs(made, units):
    """Cells cost ``COSTS`` times the unit of their seed."""
    for technique, sparsity, seed in made.cells():
        if (technique, sparsity) in COSTS:
            dense, sparse = (cost * units[seed] for cost in COSTS[technique, sparsity])
            about = made.training(technique, sparsity, seed)
            made.records.append(
                {"kind": "cost", **about, "updates": 9, "flops": dense, "sparse_flops": sparse}
            )
    (group,) = gather([read_run(made.write())])
    return group


def test_costs_are_multiples_of_the_dense_training_of_the_seed(made):
    table = flops_table(with_costs(made, {1: 2e15, 2: 3e15}))
    assert table.header == ["sparsity, %", "SLT", "MP"]
    assert table.rows == [
        ["0", "1.00 / 1.00", "1.00 / 1.00"],
        ["50", "2.00 / 1.60", "1.00 / 0.80"],
        ["90", "3.00 / 1.75", "–"],
    ]
    assert table.data[1][2] == [0.9, 3.0, 1.75, None, None]


def test_without_a_counted_dense_training_the_updates_are_the_unit(made):
    """A dense run that is adopted from plain fairseq; the recipe has 1,000 updates."""
    group = with_costs(made, {1: 2e15, 2: 3e15})
    own = {cell: cost for cell, cost in group.costs.items() if cell[0] != "dense"}
    table = flops_table(replace(group, costs=own))
    # each cell has 9 updates here, and costs 9 / 1000 of the dense training by definition
    assert table.rows[1] == ["50", "0.01 / 0.01", "0.01 / 0.01"]
    assert table.data[1][1][1:3] == pytest.approx([0.009, 0.009 * 1.6 / 2])


def test_runs_that_were_not_counted_have_no_table_and_no_plot(made):
    (group,) = gather([read_run(made.write())])
    assert flops_table(group) is None
    assert cost_plot(group, BLEU, size("16cm", 8)) is None


def test_the_plot_is_an_image_of_the_width_of_the_page(made):
    drawing = cost_plot(with_costs(made, {1: 2e15, 2: 3e15}), BLEU, size("16cm", 8))
    image = Image.open(io.BytesIO(drawing.files["png"]))
    assert image.width == pytest.approx(16 / 2.54 * 300, abs=2)
    assert drawing.slug == "bleu-test-best-beam4-lenpen0-6-by-operations"


def test_a_way_to_count_by_which_all_models_cost_the_same_has_no_panel(made, monkeypatch):
    """And one sparsity alone is not written beside each point."""
    monkeypatch.setattr(cost_plots, "draw", lambda _, text, page, plot: (text, plot(page)))
    group = with_costs(made, {1: 2e15, 2: 3e15})
    factors = {("dense", 0.0): 1, ("mp", 0.5): 1, ("slt", 0.5): 1.005 / 2}
    nearly_equal = {
        cell: replace(cost, flops=cost.flops * factors[cell[:2]])
        for cell, cost in group.costs.items()
        if cell[:2] in factors
    }
    page, sentence = size("16cm", 8), "all models take equally many operations"
    caption, figure = cost_plot(group, BLEU, page)
    assert [axes.get_title() for axes in figure.axes] == [
        "counted as dense", "as if pruned weights took none"
    ]  # fmt: skip
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "50", "90", "50"]
    assert sentence not in caption
    caption, figure = cost_plot(replace(group, costs=nearly_equal), BLEU, page)
    assert [axes.get_title() for axes in figure.axes] == ["as if pruned weights took none"]
    assert not figure.axes[0].texts and sentence in caption


pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


@PROPERTY
@given(pairs, st.booleans())
def test_the_front_has_just_the_pairs_that_no_other_beats(points, lower_is_better):
    def beats(a, b):
        better, equal = (a[1] < b[1] if lower_is_better else a[1] > b[1]), a[1] == b[1]
        return (a[0] <= b[0] and better) or (a[0] < b[0] and equal)

    expected = {b for b in points if not any(beats(a, b) for a in points)}
    front = pareto_front(points, lower_is_better)
    assert front == sorted(expected)
