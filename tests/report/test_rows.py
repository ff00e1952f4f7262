"""Shares of different things never share a table, and each is called what it is."""

import csv

import pytest
from report.made import RECIPE, Made, score_record

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
pytest.importorskip("sacrebleu")
from matplotlib.figure import Figure  # noqa: E402

from fairseq_lottery.report import gather, load, read_run, size, write_report  # noqa: E402
from fairseq_lottery.report.plots.curves import sparsity_curves  # noqa: E402
from fairseq_lottery.report.plots.drawings import share_axis  # noqa: E402
from fairseq_lottery.report.reading.table_words import Evaluation  # noqa: E402
from fairseq_lottery.report.statistics.significance import across_seeds  # noqa: E402
from fairseq_lottery.report.tables.orders import order_table  # noqa: E402
from fairseq_lottery.report.tables.published_comparison import (
    beside,
    comparison_table,
)  # noqa: E402
from fairseq_lottery.report.tables.score_tables import metric_table  # noqa: E402

BLEU = Evaluation("test", "best-beam4-lenpen0.6", "BLEU")
PAGE = size("8cm", 8)
ROWS = {
    "heads-lowest": "heads", "heads-random": "heads", "units-lowest": "units",
    "blocks-lowest": "blocks", "s-good": "metric", "s-bad": "metric",
    "m-good": "metric",
}  # fmt: skip


def groups_of(folder, techniques, shares=(0.5, 0.75), seeds=(1, 2, 3), **changes):
    """Scores that depend on seed and share, by kind of rows."""
    rows = {name: ROWS[name] for name in techniques if name in ROWS}
    made = Made(folder, techniques, shares, seeds, rows=rows, **changes)
    for technique, share, seed in made.cells():
        drop = 0.1 * seed * (technique in ("heads-random", "s-bad"))
        record = score_record(
            technique=technique, sparsity=share, seed=seed, score=30 + seed - 4 * share - drop
        )
        made.records.append({**record, **made.closed(technique, share, seed)})
    return gather([read_run(made.write())])


def test_each_kind_of_rows_is_a_group_with_the_dense_model(tmp_path):
    groups = groups_of(tmp_path / "a", ["heads-lowest", "mp", *list(ROWS)[1:-1]])
    assert [(g.rows, list(g.techniques)) for g in groups] == [
        ("weights", ["mp"]),
        ("heads", ["heads-lowest", "heads-random"]),
        ("units", ["units-lowest"]),
        ("blocks", ["blocks-lowest"]),
        ("metric", ["s-good", "s-bad"]),
    ]
    for group in groups:
        assert group.values(BLEU, "dense", 0.0) == [31.0, 32.0, 33.0]
        cells = {(t, s) for t, s, _ in group.tables[BLEU]} - {("dense", 0.0)}
        assert {technique for technique, _ in cells} == set(group.techniques)
        assert len(group.planned) == 3 * (1 + 2 * len(group.techniques))
    assert [g.slug for g in groups] == ["weights", "heads", "units", "blocks", "metric"]
    assert groups[1].title == "Small task: attention heads"
    assert {(g.number, g.recipe_title) for g in groups} == {(1, "Small task")}


def test_one_kind_of_rows_needs_no_name(tmp_path):
    (group,) = groups_of(tmp_path / "a", ["heads-lowest"])
    assert (group.rows, group.title, group.slug) == ("heads", "Small task", "")
    (group,) = groups_of(tmp_path / "b", [])
    assert group.rows == "weights", "the dense model alone"


def test_two_recipes_with_two_kinds_each(tmp_path):
    made = [
        Made(tmp_path / str(n), ("mp", "heads-lowest"), rows=ROWS, recipe={**RECIPE, "updates": n})
        for n in (1, 2)
    ]
    groups = gather([read_run(each.write()) for each in made])
    assert [g.slug for g in groups] == [
        "1-small-task-updates-1-weights",
        "1-small-task-updates-1-heads",
        "2-small-task-updates-2-weights",
        "2-small-task-updates-2-heads",
    ]
    assert groups[3].title == "Small task (updates 2): attention heads"


@pytest.mark.parametrize(
    "technique, axis, by, whole",
    [
        ("heads-lowest", "heads pruned, %", "heads left", "24 heads"),
        ("units-lowest", "FFN units pruned, %", "FFN units left", "32 FFN units"),
        ("blocks-lowest", "FFN blocks pruned, %", "FFN blocks left", "4 FFN blocks"),
    ],
)
def test_tables_say_what_their_shares_are_of(tmp_path, technique, axis, by, whole):
    (group,) = groups_of(tmp_path / "a", [technique])
    table = metric_table(group, BLEU)
    assert table.header[0] == axis and f"BLEU on test by {by} (" in table.caption
    assert [row[0] for row in table.rows] == ["0", "50", "75"]
    assert f"Shares are of {whole}." in table.notes
    assert not any("parsity" in note for note in table.notes)
    assert table.data[0][0] == axis[:-3]
    order = order_table(group, BLEU, across_seeds(group, BLEU))
    assert order.header[0] == axis
    drawing = sparsity_curves(group, BLEU, PAGE)
    assert f"BLEU on test by {by} (" in drawing.caption and "axis is linear" in drawing.caption
    assert drawing.slug == f"{BLEU.slug}-by-{by.lower().replace(' ', '-')}"


def test_shares_of_different_heads_are_said(tmp_path):
    made = Made(tmp_path / "a", ("heads-lowest", "heads-random"), rows=ROWS)
    heads = {"denominator": "heads", "prunable": 24}
    made.records += [
        score_record(technique="heads-lowest", **heads),
        score_record(technique="heads-random", **{**heads, "prunable": 8}),
    ]
    (group,) = gather([read_run(made.write())])
    assert (
        "Shares are NOT of the same heads in all columns: 24 heads for lowest heads; 8 heads for"
        " random heads."
    ) in metric_table(group, BLEU).notes


def test_the_axis_of_what_is_closed_is_linear_and_rises_to_the_right():
    axes = Figure().add_subplot()
    share_axis(axes, [0.1, 0.5, 1.0], PAGE, logarithmic=False)
    left, right = axes.get_xlim()
    assert axes.get_xscale() == "linear" and left > right
    labels = {round(x, 6): t.get_text() for x, t in zip(axes.get_xticks(), axes.get_xticklabels())}
    assert labels == {0.0: "100", 0.5: "50", 0.9: "10"}
    narrow = Figure().add_subplot()
    share_axis(narrow, [n / 20 for n in range(1, 20)], size("5.1cm", 8), logarithmic=False)
    assert len(narrow.get_xticks()) < 19
    assert len(narrow.get_xticks()) + len(narrow.get_xticks(minor=True)) == 19


def test_a_search_is_told_with_what_it_leaves(tmp_path):
    (group,) = groups_of(tmp_path / "a", ["s-good", "s-bad"], shares=(0.9, 0.6))
    assert group.sparsities == (0.9, 0.6), "from the most that is kept"
    table = metric_table(group, BLEU)
    assert table.header == [
        *("technique", "kept of the metric, %", "BLEU", "heads left, %", "FFN blocks left, %")
    ]
    # 2 of 24 heads and 1 of 4 blocks are closed at 90 %, 8 of 24 at 60 %
    assert table.rows == [
        ["dense", "100", "32.0 ± 1.0", "100", "100"],
        ["s-pruning, good", "90", "28.4 ± 1.0", "91.7", "75"],
        ["s-pruning, bad", "90", "28.2 ± 0.9", "91.7", "75"],
        ["s-pruning, good", "60", "29.6 ± 1.0", "66.7", "75"],
        ["s-pruning, bad", "60", "29.4 ± 0.9", "66.7", "75"],
    ]
    assert table.data[0][-2:] == ["heads left", "FFN blocks left"]
    assert table.data[1][1][-2] == pytest.approx(22 / 24)
    assert sparsity_curves(group, BLEU, PAGE) is None
    order = order_table(group, BLEU, across_seeds(group, BLEU))
    assert order.header[0] == "kept of the metric, %" and order.rows[0][0] == "90"


def test_a_search_over_weights_stands_beside_one_over_parts(tmp_path):
    (group,) = groups_of(tmp_path / "a", ["s-good", "m-good"], shares=(0.9,))
    table = metric_table(group, BLEU)
    assert table.header[3:] == ["heads left, %", "FFN blocks left, %", "weights left, %"]
    assert [row[:1] + row[3:] for row in table.rows] == [
        ["dense", "100", "100", "100"],
        ["s-pruning, good", "91.7", "75", "–"],
        ["m-pruning, good", "100", "100", "90"],
    ]


def test_published_heads_stand_beside_heads_only(tmp_path):
    groups = groups_of(tmp_path / "a", ["mp", "heads-lowest"], published="voita2019-en-ru")
    assert [one and one.name for one in beside(groups)] == [None, "voita2019-en-ru"]
    groups = groups_of(tmp_path / "b", ["mp", "heads-lowest"], published="brix2020-en-de")
    assert [one and one.name for one in beside(groups)] == ["brix2020-en-de", None]
    (group,) = groups_of(tmp_path / "c", ["heads-lowest"], published="brix2020-en-de")
    assert [one and one.name for one in beside([group])] == ["brix2020-en-de"]
    table = comparison_table(group, BLEU, load("brix2020-en-de"))
    assert table.header[:3] == ["heads pruned, %", "dense, here", "dense, published"]
    assert [row[:3] for row in table.rows] == [["0", "32.0 ± 1.0", "26.8"]]


def test_a_name_that_is_published_for_heads_is_no_name_of_weights(tmp_path):
    (group,) = groups_of(tmp_path / "a", ["heads-gates-scratch"])
    table = comparison_table(group, BLEU, load("voita2019-en-ru"))
    assert table.header[1:] == ["dense, here", "dense, published"], "its rows here are of weights"
    of_heads = {"heads-gates-scratch": "heads"}
    made = Made(tmp_path / "b", ("heads-gates-scratch",), (0.75,), rows=of_heads)
    made.records.append(
        score_record(technique="heads-gates-scratch", sparsity=0.75, denominator="heads")
    )
    (group,) = gather([read_run(made.write())])
    table = comparison_table(group, BLEU, load("voita2019-en-ru"))
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.header[0] == "heads pruned, %"
    assert rows["75"] == ["26.6", "28.56"] and rows["47.92"] == ["–", "29.47"]


def test_a_report_of_several_kinds(tmp_path):
    made = Made(
        tmp_path / "run", ("mp", "heads-lowest", "s-good"), (0.5, 0.9), rows=ROWS, sentences=10
    )
    made.score().model().choices().importance().write()
    files = write_report([tmp_path / "run"], tmp_path / "out", PAGE)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Small task\n")
    headings = [line for line in text.split("\n") if line.startswith("## ")]
    assert headings == [
        *("## Summary", "## How to read it"),
        *("## Small task: pruned weights", "## Small task: attention heads"),
        *("## Small task: searches", "## How this report was made"),
    ]
    assert "separate sections (pruned weights, attention heads, searches)" in text
    assert text.count("### Masks") == 1 and text.count("### Heads and units") == 2
    assert text.count("figures/heads-importance.svg") == 1
    assert "There is no plot by share kept of the metric: a search decides what it prunes." in text
    plots = {file[8:-4] for file in files if file.endswith(".svg")}
    name = BLEU.slug
    assert plots == {
        *(f"weights-{name}-by-sparsity", "weights-densities"),
        *(f"heads-{name}-by-heads-left", "heads-importance", "heads-survival"),
        "metric-survival",
    }
    with open(tmp_path / "out" / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * (1 + 2), "the dense model is in each part"
    last = rows[-1]
    assert (last["rows"], last["heads closed"], last["blocks closed"]) == (
        *("metric", str(2 / 24), "0.25"),
    )
    with open(tmp_path / "out" / "significance.csv", encoding="utf-8", newline="") as file:
        pairs = {frozenset((row["a"], row["b"])) for row in csv.DictReader(file)}
    assert pairs == {frozenset(("dense", name)) for name in ("mp", "heads-lowest", "s-good")}
