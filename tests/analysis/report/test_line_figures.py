"""Lines of single commands: their names and values, and models that are told apart."""

import csv
import io

import pytest

pytest.importorskip("matplotlib")

from fairseq_lottery.analysis.report.command_rows import labelled_rows, short_names
from fairseq_lottery.analysis.report.figure_files import plot
from fairseq_lottery.analysis.report.figures import line_figures, quantity_figure
from fairseq_lottery.report.plots.drawings import Drawing


@pytest.fixture
def painted(monkeypatch):
    """Lines that were painted: their axis, and label -> points."""
    calls = []
    monkeypatch.setattr(quantity_figure, "draw", lambda name, caption, page, paint, formats: (
        paint(page), Drawing(name, caption, page.width, {}))[1])  # fmt: skip
    monkeypatch.setattr(line_figures, "_paint", lambda quantity, lines, axis, page: calls.append(
        (axis, quantity.is_share, lines)))  # fmt: skip
    return calls


def names(drawings):
    return [drawing.slug for drawing in drawings]


def test_connect_has_a_line_of_the_loss_and_of_the_error(painted):
    values = {"loss": [2.0, 3.5, 2.5], "error": [0.25, 0.5, 0.375]}
    rows = [
        {"measure": "connect", "statistic": name, "alpha": number / 2, "value": value}
        for name, own in values.items() for number, value in enumerate(own)
    ]  # fmt: skip
    rows += [{"measure": "connect", "statistic": "loss-barrier", "value": 1.25}]
    drawings = plot(rows)
    assert names(drawings) == ["connect-loss-by-alpha", "connect-error-by-alpha"]
    assert painted == [
        ("alpha", False, {"": {0: [2.0], 0.5: [3.5], 1: [2.5]}}),
        ("alpha", True, {"": {0: [0.25], 0.5: [0.5], 1: [0.375]}}),
    ]
    table = [*csv.DictReader(io.StringIO(drawings[0].files["csv"].decode()))]
    assert [(row["alpha"], row["mean"]) for row in table] == [
        *(("0.0", "2.0"), ("0.5", "3.5"), ("1.0", "2.5")),
    ]


def test_children_have_barriers_by_update(painted):
    rows = [
        {"measure": "connect", "statistic": "loss-barrier", "component": update,
         "threshold": 0.5, "pair": f"orders 1 and {order}", "value": update / 100 + order}
        for update in (0, 100) for order in (2, 4)
    ]  # fmt: skip
    rows += [{**row, "statistic": "loss", "alpha": alpha} for row in rows for alpha in (0.0, 1.0)]
    assert names(plot(rows)) == ["connect-loss-by-alpha", "connect-loss-barrier-by-update"]
    assert [*painted[0][2]] == [
        f"50 % sparsity, update {update}, orders 1 and {order}"
        for update in (0, 100) for order in (2, 4)
    ]  # fmt: skip
    assert painted[1] == ("update", False, {"50 % sparsity": {0: [2, 4], 100: [3, 5]}})


def test_children_of_a_sweep_are_in_the_same_figures(painted):
    rows = [
        {"measure": "connect", "technique": "children-d1", "sparsity": 0.5, "seed": seed,
         "against": f"children-d{order}", "other_seed": seed, "component": 40, "threshold": 0.5,
         "pair": f"seed {seed}, orders 1 and {order}", "statistic": "loss-barrier",
         "value": seed / 4 + order}
        for seed in (1, 2) for order in (2, 4)
    ]  # fmt: skip
    assert names(plot(rows)) == ["connect-loss-barrier-by-update"]
    assert painted == [("update", False, {"50 % sparsity": {40: [2.25, 2.5, 4.25, 4.5]}})]


def test_distances_of_masks_are_in_one_figure(painted):
    row = {"measure": "mask-distance", "threshold": 0.7}
    rows = [
        {**row, "component": 100, "statistic": "last", "value": 0.25},
        {**row, "component": 100, "statistic": "expected", "value": 0.42},
        {**row, "component": 200, "statistic": "previous", "value": 0.25},
    ]
    assert names(plot(rows)) == ["mask-distance-by-update"]
    axis, is_share, lines = painted[0]
    assert (axis, is_share) == ("update", True)
    assert [*lines.values()] == [{100: [0.25]}, {100: [0.42]}, {200: [0.25]}]


def test_models_of_one_command_are_not_averaged(painted):
    rows = [
        {"measure": "probe", "model": f"{model}/recording", "task": "upos", "part": "encoder",
         "layer": layer, "statistic": statistic, "seed": seed, "value": value + seed}
        for statistic in ("accuracy", "epochs")
        for model, value in (("dense", 1.0), ("slt", 3.0)) for layer in (1, 2) for seed in (1, 2)
    ]  # fmt: skip
    assert names(plot(rows)) == ["probe-upos-accuracy-by-layer"]
    assert painted[0][2] == {
        "dense, encoder": {1: [2.0, 3.0], 2: [2.0, 3.0]},
        "slt, encoder": {1: [4.0, 5.0], 2: [4.0, 5.0]},
    }


def test_many_lines_are_left_to_the_table(painted):
    rows = [
        {"measure": "connect", "statistic": "loss", "alpha": alpha, "component": 1,
         "threshold": 0.0, "pair": str(pair), "value": 1.0}
        for alpha in (0.0, 1.0) for pair in range(30)
    ]  # fmt: skip
    (drawing,) = plot(rows)
    assert len(painted[0][2]) == 24
    assert len(drawing.files["csv"].decode().splitlines()) == 61


@pytest.mark.parametrize(("paths", "short"), [
    (["dense/recording", "slt/recording"], ["dense", "slt"]),
    (["/a/b/dense", "/a/b/slt/80"], ["dense", "slt/80"]),
    (["dense", "slt"], ["dense", "slt"]),
    (["/a/x/last.pt", "/a/x/y/last.pt", "all"], ["last.pt", "y/last.pt", "all"]),
    (["/a/dense"], ["dense"]),
])  # fmt: skip
def test_short_names(paths, short):
    assert [*short_names(paths).values()] == short


def test_rows_of_a_sweep_keep_their_techniques():
    rows = [{"measure": "m", "technique": "slt", "other": "/a/b", "value": 1}]
    assert labelled_rows(rows) is rows
