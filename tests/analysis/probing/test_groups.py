"""Percentages from the mean of a task, worked by hand."""

import pytest

from fairseq_lottery.analysis.probing.groups import relative_scores
from fairseq_lottery.analysis.probing.table import group_lines, score_lines
from fairseq_lottery.errors import LotteryError


def row(model, task, layer, seed, value, statistic="accuracy"):
    return {
        "measure": "probe", "model": model, "task": task, "part": "encoder", "layer": layer,
        "seed": seed, "statistic": statistic, "value": value,
    }  # fmt: skip


#: upos: means over seeds .8 .9 | .7 .8, mean .8; ner: .5 .3 | .3 .1, mean .3
ROWS = [
    row("dense", "upos", 1, 1, 0.75), row("dense", "upos", 1, 2, 0.85),
    row("dense", "upos", 2, 1, 0.9), row("dense", "upos", 2, 2, 0.9),
    row("slt", "upos", 1, 1, 0.7), row("slt", "upos", 2, 1, 0.8),
    row("dense", "ner", 1, 1, 0.5, "span-f1"), row("dense", "ner", 2, 1, 0.3, "span-f1"),
    row("slt", "ner", 1, 1, 0.3, "span-f1"), row("slt", "ner", 2, 1, 0.1, "span-f1"),
    row("slt", "ner", 2, 1, 0.9, "token-accuracy"), row("slt", "upos", 2, 1, 0.3, "control"),
]  # fmt: skip


def values(rows):
    return {(one["task"], one["model"], one["layer"]): one["value"] for one in rows}


def test_table_worked_by_hand():
    table = values(relative_scores(ROWS, {"morphology": ["upos", "ner"], "tags": ["upos"]}))
    assert table == pytest.approx(
        {
            ("morphology", "dense", 1): (0 + 200 / 3) / 2,
            ("morphology", "dense", 2): (12.5 + 0) / 2,
            ("morphology", "slt", 1): (-12.5 + 0) / 2,
            ("morphology", "slt", 2): (0 - 200 / 3) / 2,
            ("tags", "dense", 1): 0,
            ("tags", "dense", 2): 12.5,
            ("tags", "slt", 1): -12.5,
            ("tags", "slt", 2): 0,
        },
        abs=1e-9,
    )


def test_each_task_is_a_group_by_default_and_sums_to_zero():
    table = values(relative_scores(ROWS))
    assert set(task for task, _, _ in table) == {"upos", "ner"}
    for task in ("upos", "ner"):
        assert sum(v for (name, _, _), v in table.items() if name == task) == pytest.approx(0)
    scaled = [{**one, "value": 3 * one["value"]} for one in ROWS]
    assert values(relative_scores(scaled)) == pytest.approx(table)


def test_a_layer_that_a_task_lacks_has_no_row():
    rows = [one for one in ROWS if (one["task"], one["model"], one["layer"]) != ("ner", "slt", 2)]
    table = values(relative_scores(rows, {"all": ["upos", "ner"]}))
    assert ("all", "slt", 2) not in table and len(table) == 3


def test_unknown_tasks_and_means_of_zero():
    with pytest.raises(LotteryError, match="'chunk', which was not probed; choose from upos, ner"):
        relative_scores(ROWS, {"syntax": ["chunk"]})
    other = [{**one, "part": "decoder"} for one in ROWS if one["task"] == "ner"]
    with pytest.raises(LotteryError, match="ner: decoder, upos: encoder"):
        relative_scores([*ROWS[:6], *other], {"both": ["ner", "upos"]})
    with pytest.raises(LotteryError, match="the mean score of upos is 0"):
        relative_scores([row("a", "upos", 1, 1, 0.0)])
    worse = [row("a", "score", n, 1, value, "pearson") for n, value in ((1, -0.2), (2, 0.1))]
    with pytest.raises(LotteryError, match="the mean score of score is -0.05, so it has no"):
        relative_scores(worse)


def test_text():
    lines = list(group_lines(relative_scores(ROWS, {"tags": ["upos"]})))
    assert lines[-2:] == [
        "tags   enc 1         +0.0    -12.5",
        "tags   enc 2        +12.5     +0.0",
    ]
    lines = list(score_lines(ROWS[:4]))
    assert lines[2].split() == ["enc", "1", "0.800", "±", "0.071"]
