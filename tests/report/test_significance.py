import csv
import io
import json
import tracemalloc

import pytest
from report.made import Made, score_record, translate

pytest.importorskip("sacrebleu")
pytest.importorskip("scipy")
from sacrebleu.metrics import BLEU as Bleu  # noqa: E402
from sacrebleu.significance import PairedTest  # noqa: E402

from fairseq_lottery.report import gather, read_run  # noqa: E402
from fairseq_lottery.report.introduction import outcomes  # noqa: E402
from fairseq_lottery.report.reading.table_words import Evaluation  # noqa: E402
from fairseq_lottery.report.statistics.bootstrap import within_seeds  # noqa: E402
from fairseq_lottery.report.statistics.significance import (  # noqa: E402
    BOOTSTRAP,
    Comparison,
    across_seeds,
)
from fairseq_lottery.report.tables.orders import order_table  # noqa: E402
from fairseq_lottery.report.tables.tidy_results import comparisons_csv  # noqa: E402

BLEU = Evaluation("test", "best-beam4-lenpen0.6", "BLEU")


def scored(folder, shares, **changes):
    """Techniques whose translations have this share of words exchanged, at 50 %."""
    made = Made(folder, techniques=tuple(shares), sparsities=(0.5,), sentences=100, **changes)
    for name, share in shares.items():
        (folder / name).write_text("\n".join(translate(made.lines, share, 7)) + "\n")
        lines = (folder / name).read_text().splitlines()
        score = Bleu().corpus_score(lines, [made.lines]).score
        made.records.append(
            score_record(technique=name, sparsity=0.5, score=score, hypotheses=name, sentences=100)
        )
    return made


def group_of(made):
    (group,) = gather([read_run(made.write())])
    return group


def test_the_bootstrap_is_sacrebleus(tmp_path):
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.105, "random": 0.5})
    found, reasons = within_seeds(group_of(made), BLEU)
    assert reasons == [] and [(c.a, c.b) for c in found] == [
        ("slt", "mp"),
        ("slt", "random"),
        ("mp", "random"),
    ]
    systems = [(n, (tmp_path / "a" / n).read_text().splitlines()) for n in ("slt", "mp")]
    _, scores = PairedTest(systems, {"BLEU": Bleu()}, [made.lines], test_type="bs")()
    assert found[0].p == scores["BLEU"][1].p_value
    assert found[0].difference == pytest.approx(scores["BLEU"][0].score - scores["BLEU"][1].score)
    assert [c.is_different for c in found] == [False, True, True]


def test_p_values_are_adjusted_within_a_sparsity_and_seed(tmp_path):
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.11, "random": 0.5})
    found, _ = within_seeds(group_of(made), BLEU)
    low, high = sorted({c.p for c in found})
    assert low == pytest.approx(1 / 1001)
    assert sorted(c.adjusted for c in found) == pytest.approx([low * 3 / 2, low * 3 / 2, high])


def test_the_same_score_is_no_difference(tmp_path):
    """Two systems that get nothing right: the bare bootstrap calls them different."""
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.1})
    for name, word in (("slt", "x"), ("mp", "y")):
        (tmp_path / "a" / name).write_text(f"{word}\n" * 100)
    for record in made.records:
        record["score"] = 0.0
    found, _ = within_seeds(group_of(made), BLEU)
    assert [(c.difference, c.p, c.is_different) for c in found] == [(0.0, 1.0, False)]


def test_cells_without_translations_are_left_out_with_a_reason(tmp_path):
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.2, "lt": 0.2, "clt": 0.2, "random": 0.5})
    (tmp_path / "a" / "mp").unlink()
    (tmp_path / "a" / "lt").write_text("one line\n")
    made.records[3]["score"] += 1
    found, reasons = within_seeds(group_of(made), BLEU)
    assert [(c.a, c.b) for c in found] == [("slt", "random")]
    assert reasons == [
        "1 cell is omitted: their translations or references are not in the run's folder.",
        "1 cell is omitted: the numbers of translations and references differ.",
        "1 cell is omitted: their translations do not give the recorded score.",
    ]


def test_translations_without_an_end_are_not_read(tmp_path):
    """A file of a gigabyte that takes no room on the disk would take four in memory."""
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.2, "random": 0.5})
    with open(tmp_path / "a" / "mp", "wb") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    found, reasons = within_seeds(group_of(made), BLEU)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(c.a, c.b) for c in found] == [("slt", "random")] and most < 1 << 28
    assert reasons == ["1 cell is omitted: their translations or references cannot be read."]


def test_empty_translations_at_the_end_are_translations(tmp_path):
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.2})
    path = tmp_path / "a" / "mp"
    lines = path.read_text().splitlines()[:-2] + ["", ""]
    path.write_text("".join(f"{line}\n" for line in lines))
    made.records[1]["score"] = Bleu().corpus_score(lines, [made.lines]).score
    found, reasons = within_seeds(group_of(made), BLEU)
    assert [(c.a, c.b) for c in found] == [("slt", "mp")] and not reasons


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: lines[:-1], "the numbers of translations and references differ"),
        (lambda lines: [*lines, lines[-1]], "the numbers of translations and references differ"),
        (lambda lines: lines[1:] + lines[:1], "do not give the recorded score"),
        (lambda lines: [*lines[:-1], lines[0]], "do not give the recorded score"),
    ],
    ids=["lost", "added", "moved", "doubled"],
)
def test_translations_that_changed_since_they_were_scored(tmp_path, change, reason):
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.2})
    path = tmp_path / "a" / "mp"
    path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
    found, (said,) = within_seeds(group_of(made), BLEU)
    assert found == [] and reason in said


def test_translations_and_references_that_lost_the_same_sentence(tmp_path):
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.2})
    group = group_of(made)
    for name in ("slt", "mp", "references.test.txt"):
        path = tmp_path / "a" / name
        path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:-1]))
    found, (said,) = within_seeds(group, BLEU)
    assert found == [] and "2 cells are omitted: the numbers of translations" in said


def test_a_signature_that_cannot_be_computed_is_not_guessed(tmp_path):
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.2})
    for record in made.records:
        record["signature"] = "nrefs:1|case:mixed|eff:no|tok:multi-bleu|smooth:exp"
    found, (reason,) = within_seeds(group_of(made), BLEU)
    assert found == [] and "Only BLEU" in reason


def test_intervals_are_of_the_same_resamples(tmp_path):
    made = scored(tmp_path / "a", {"slt": 0.1, "mp": 0.105, "random": 0.5})
    near, far, _ = within_seeds(group_of(made), BLEU)[0]
    assert near.low < near.difference < near.high and near.low < 0 < near.high
    assert 0 < far.low < far.difference < far.high


def seeds(folder, **scores):
    made = Made(folder, techniques=tuple(scores), sparsities=(0.5,), seeds=(1, 2, 3, 4))
    for name, values in scores.items():
        for seed, score in enumerate(values, 1):
            made.records.append(
                score_record(technique=name, sparsity=0.5, seed=seed, score=score, hypotheses=None)
            )
    return group_of(made)


def test_the_t_test_pairs_the_seeds(tmp_path):
    group = seeds(tmp_path / "a", slt=[26.0, 27.0, 28.0], mp=[25.0, 25.9, 27.1])
    (found,) = across_seeds(group, BLEU)
    # differences 1.0, 1.1, 0.9: mean 1, deviation 0.1, t = 1 / (0.1 / sqrt(3)) = 17.32
    assert found.difference == pytest.approx(1.0) and found.p == pytest.approx(0.003316, abs=1e-6)
    assert found.is_different and found.seed is None
    table = order_table(group, BLEU, [found])
    # t of 97.5 % with 2 degrees of freedom is 4.303; times 0.1 / sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.7516, 1.2484), abs=1e-4)
    assert table.rows == [["50", "SLT > MP", "1.0 [0.8, 1.2]", "1 of 1"]]


def test_below_three_seeds_nothing_is_tested(tmp_path):
    assert across_seeds(seeds(tmp_path / "a", slt=[26.0, 27.0], mp=[25.0, 26.0]), BLEU) == []
    uneven = seeds(tmp_path / "b", slt=[26.0, 27.0, 28.0], mp=[25.0, 26.0])
    assert across_seeds(uneven, BLEU) == []


def test_differences_without_any_spread_have_no_answer(tmp_path):
    same = [26.0, 27.0, 28.0]
    group = seeds(tmp_path / "a", slt=same, mp=[25.0, 26.0, 27.0], lt=same)
    by_pair = {(c.a, c.b): c for c in across_seeds(group, BLEU)}
    assert by_pair["slt", "mp"].p is None and not by_pair["slt", "mp"].is_different
    assert by_pair["slt", "lt"].p == 1.0


def test_the_order_says_what_was_found(tmp_path):
    group = group_of(scored(tmp_path / "a", {"slt": 0.1, "mp": 0.105, "random": 0.5}))
    found, _ = within_seeds(group, BLEU)
    table = order_table(group, BLEU, found)
    assert table.header == [
        *("sparsity, %", "seed", "order, highest first"),
        *("differences of neighbours, 95 % intervals", "pairs"),
    ]
    assert table.rows[0][2] in ("SLT ~ MP > random mask", "MP ~ SLT > random mask")
    assert table.rows[0][4] == "2 of 3"
    rows = list(csv.DictReader(io.StringIO(comparisons_csv([("t", c) for c in found]))))
    assert [row["different"] for row in rows] == ["False", "True", "True"]
    assert order_table(group, BLEU, []) is None


def test_what_came_out_says_how_far_each_technique_holds(tmp_path):
    made = Made(tmp_path / "a", ("slt", "mp", "random"), (0.5, 0.9), seeds=(1, 2, 3))
    lost = {("mp", 0.9): 9, ("random", 0.5): 8, ("random", 0.9): 20}
    for technique, sparsity, seed in made.cells():
        gap = lost.get((technique, sparsity), 0) + (0.1 * seed**2 if technique != "dense" else 0)
        score = 30 + seed - gap
        made.records.append(
            score_record(technique=technique, sparsity=sparsity, seed=seed, score=score)
        )
    group = group_of(made)
    _, block = outcomes([group], [{BLEU: (across_seeds(group, BLEU), [])}])
    text = block.text
    assert "The dense model has 32.0 ± 1.0 (3 seeds)." in text
    assert "Hold up to 90 % sparsity, the last row: SLT (-0.5)." in text
    assert "Hold up to 50 % sparsity: MP (-0.5). Hold at no sparsity: random mask." in text
    assert "a paired t-test over 3 seeds" in text and "p < 0.05" in text
    _, block = outcomes([group], [{BLEU: ([], [])}])
    assert "No technique was tested" in block.text


@pytest.mark.parametrize(("lower", "reach"), [(1, "Hold up to 50 %"), (2, "Hold at no sparsity")])
def test_a_drop_in_most_seeds_is_a_drop(tmp_path, lower, reach):
    """Of the bootstrap, which speaks of one trained model each."""
    seeds(tmp_path / "a", slt=[26.0, 27.0, 28.0])
    for seed in (1, 2, 3):
        dense = score_record(technique="dense", sparsity=0.0, seed=seed, score=28.0)
        with open(tmp_path / "a" / "records.jsonl", "a") as file:
            file.write(json.dumps(dense) + "\n")
    (group,) = gather([read_run(tmp_path / "a")])
    tests = [
        Comparison(
            BOOTSTRAP, BLEU, 0.5, seed, "dense", "slt", 1.0, 0.001, 0.5, 1.5,
            adjusted=0.001 if seed <= lower else 0.4,
        )
        for seed in (1, 2, 3)
    ]  # fmt: skip
    _, block = outcomes([group], [{BLEU: (tests, [])}])
    assert reach in block.text and "in most of 3 seeds" in block.text
    assert ("In brackets:" in block.text) == (lower == 1), "only where something holds"
