"""Matching and winning subnetworks against counts by hand."""

import statistics

import pytest
from report.made_data_sets import MadeDataSets

pytest.importorskip("scipy")

from fairseq_lottery.report import gather, read_run  # noqa: E402
from fairseq_lottery.report.reading.families import families, views  # noqa: E402
from fairseq_lottery.report.statistics.matching import (  # noqa: E402
    Verdict,
    all_match,
    contradictions,
    verdict,
)
from fairseq_lottery.report.statistics.significance import across_seeds  # noqa: E402
from fairseq_lottery.report.tables.matching_tables import (  # noqa: E402
    highest_table,
    matching_table,
)

FULL = (82.0, 82.4, 82.8)  # mean 82.4, sample deviation 0.4


@pytest.mark.parametrize(
    ("values", "full", "is_loss", "matches"),
    [
        ((82.0, 82.0, 82.0), FULL, False, True),  # exactly one deviation below
        ((81.9, 82.0, 82.0), FULL, False, False),
        ((95.0,), FULL, False, True),  # better is a match
        ((82.0,), FULL, False, True),  # the deviation is the full model's, not the cell's
        ((70.0, 94.8), FULL, False, True),  # so a large one of the cell does not matter
        ((82.8, 82.8), FULL, True, True),
        ((82.9, 82.8), FULL, True, False),
        ((60.0,), FULL, True, True),
        ((82.4,), (82.4,), False, None),  # one seed has no deviation
        ((), FULL, False, None),
        ((82.0,), (), False, None),
        ((5.0,), (5.0, 5.0), False, True),  # a deviation of 0
        ((4.9,), (5.0, 5.0), False, False),
    ],
)
def test_matching(values, full, is_loss, matches):
    assert Verdict(values, full, is_loss).matches is matches
    assert Verdict(values, full, is_loss, keeps_start=True).wins is (matches is True)
    assert Verdict(values, full, is_loss, keeps_start=False).wins is False


def test_the_border_is_not_decided_by_rounding():
    """Mean and deviation are 0.2 and 0.1 in decimals, but not in floating point."""
    full = (0.1, 0.2, 0.3)
    assert statistics.fmean(full) - statistics.stdev(full) != 0.1
    assert Verdict((0.1,), full).matches is True
    assert Verdict((0.3,), full, lower_is_better=True).matches is True
    assert Verdict((0.0999,), full).matches is False


def test_gains_are_positive_for_the_better():
    assert Verdict((81.0,), FULL).difference == pytest.approx(-1.4)
    assert Verdict((81.0,), FULL).gain == pytest.approx(-1.4)
    assert Verdict((81.0,), FULL, lower_is_better=True).difference == pytest.approx(-1.4)
    assert Verdict((81.0,), FULL, lower_is_better=True).gain == pytest.approx(1.4)
    assert Verdict((), FULL).gain is None


def test_universal_masks():
    match, no, unknown = Verdict((82.4,), FULL), Verdict((1.0,), FULL), Verdict((), FULL)
    assert all_match([match, match]) is True
    assert all_match([match, unknown, no]) is False
    assert all_match([match, unknown]) is None
    assert all_match([]) is None


def group_of(made, name):
    groups = gather([read_run(made.write())])
    return {group.data_set.name: group for group in groups}[name]


def made_with(folder, drops, **settings):
    """A run whose cells are so many deviations worse than the full model."""
    return MadeDataSets(
        folder, techniques=("imp", "fresh-weights"), sparsities=(0.3, 0.5, 0.7), sources=[],
        **settings,
    ).score(lambda technique, data, sparsity: drops.get((technique, sparsity), 0.0))  # fmt: skip


@pytest.mark.parametrize("name", ["agreement", "masked-words"])
def test_a_table_of_verdicts(tmp_path, name):
    drops = {("imp", 0.3): 1.0, ("imp", 0.5): 1.2, ("imp", 0.7): -0.1, ("fresh-weights", 0.5): 3,
             ("fresh-weights", 0.7): 3}  # fmt: skip
    group = group_of(made_with(tmp_path / "run", drops), name)
    (key,) = group.tables
    table = matching_table(group, key, [])
    assert table.header == ["technique", "30 %", "50 %", "70 %", "highest match, %"]
    assert table.rows == [
        ["global IMP", "win", "no", "win", "70 (not 50)"],
        ["fresh weights", "match", "no", "no", "30"],
    ]
    shown = "91.0 ± 1.0" if name == "agreement" else "2.500 ± 0.020"
    assert f"{shown} over 3 seeds" in table.notes[0]
    header, rows = table.data
    row = dict(zip(header, rows[1]))
    sign = -1 if name == "agreement" else 1
    assert row["difference"] == pytest.approx(sign * 1.2 * (1.0 if sign < 0 else 0.02))
    assert (row["seeds"], row["full seeds"], row["matches"], row["wins"]) == (3, 3, False, False)


def test_one_seed_has_no_verdict(tmp_path):
    group = group_of(made_with(tmp_path / "run", {}, seeds=(2,)), "agreement")
    (key,) = group.tables
    table = matching_table(group, key, [])
    assert table.rows[0] == ["global IMP", "?", "?", "?", "–"]
    assert "The full model has 1 seed, so there is no deviation" in table.notes[0]


def test_fewer_seeds_and_missing_cells_are_marked(tmp_path):
    made = MadeDataSets(tmp_path / "run", techniques=("imp",), sources=[])
    made.score(
        lambda *cell: 0.0,
        skip=lambda cell: cell[1:3] == ("imp", 0.7) or cell[1:] == ("imp", 0.5, 3),
    )
    group = group_of(made, "agreement")
    (key,) = group.tables
    assert matching_table(group, key, []).rows == [["global IMP", "win (n=2)", "–", "50"]]


def test_tests_across_seeds_that_say_otherwise(tmp_path):
    """A drop of half a deviation, equal in all seeds, is found; one of two, in one seed, is not."""
    made = MadeDataSets(tmp_path / "run", techniques=("imp", "random"), sparsities=(0.5,),
                        sources=[])  # fmt: skip
    scores = {"dense": (90, 91, 92), "imp": (89.5, 90.49, 91.5), "random": (90, 91, 85)}
    for cell in made.cells():
        if cell[0] == "agreement":
            score = scores[cell[1]][cell[3] - 1]
            made.records.append(
                {
                    "kind": "score", **made.about(cell), "checkpoint": "best", "metric": "accuracy",
                    "evaluation": "best", "subset": "valid", "score": score, "maximise": True,
                }
            )  # fmt: skip
    group = group_of(made, "agreement")
    (key,) = group.tables
    tests = across_seeds(group, key)
    matching, failing = contradictions(group, key, tests)
    assert [(each.a, each.b) for each in matching] == [("dense", "imp")]
    assert [(each.a, each.b) for each in failing] == [("dense", "random")]
    notes = matching_table(group, key, tests).notes
    assert notes[-2].endswith("finds a drop, although the cell matches: global IMP at 50 %.")
    assert notes[-1].endswith("although the cell does not match: random mask at 50 %.")
    assert (
        verdict(group, key, "imp", 0.5).matches and not verdict(group, key, "random", 0.5).matches
    )


def test_a_cell_wins_only_if_all_its_trainings_keep_the_start(tmp_path):
    made = made_with(tmp_path / "run", {})
    for cell in made.plan["cells"]:
        if (cell["technique"], cell["sparsity"], cell["seed"]) == ("imp", 0.5, 2):
            del cell["keeps_start"]
    group = group_of(made, "agreement")
    (key,) = group.tables
    assert matching_table(group, key, []).rows[0] == ["global IMP", "win", "match", "win", "70"]


def test_the_highest_match_of_each_data_set(tmp_path):
    bad = [("similarity", 0.5), ("similarity", 0.7), ("agreement", 0.7)]
    made = MadeDataSets(tmp_path / "run", techniques=("imp",), sources=[])
    made.score(lambda _, data, sparsity: 9.0 * ((data, sparsity) in bad))
    (family,) = families(gather([read_run(made.write())]))
    table = highest_table(family, views(family)[0])
    assert table.header == ["technique", *made.data_sets]
    assert table.rows == [["global IMP", "70", "50", "none", "70"]]
    assert "(3 seeds of the full model)" in table.notes[0]
