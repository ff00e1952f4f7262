import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.made import RECIPE, Made, score_record
from small import PROPERTY

from fairseq_lottery.report import gather, load, read_run
from fairseq_lottery.report.reading.table_words import Evaluation, percent
from fairseq_lottery.report.tables.cost_tables import updates_table
from fairseq_lottery.report.tables.published_comparison import comparison_table, recipe_table
from fairseq_lottery.report.tables.score_tables import metric_table
from fairseq_lottery.report.tables.table_formats import (
    Table,
    comma_separated,
    latex,
    latex_text,
    markdown,
)

BLEU = Evaluation("test", "best-beam4-lenpen0.6", "BLEU")


def group_of(folder, scores, **changes):
    """A run of these (technique, sparsity, seed) -> score."""
    made = Made(folder, techniques=("slt", "mp"), seeds=(1, 2), **changes)
    for (technique, sparsity, seed), score in scores.items():
        made.records.append(
            score_record(technique=technique, sparsity=sparsity, seed=seed, score=score)
        )
    (group,) = gather([read_run(made.write())])
    return group


SCORES = {
    ("dense", 0.0, 1): 27.0,
    ("dense", 0.0, 2): 28.0,
    ("slt", 0.5, 1): 26.0,
    ("slt", 0.5, 2): 26.2,
    ("slt", 0.9, 1): 20.0,
    ("mp", 0.5, 1): 25.0,
    ("mp", 0.5, 2): 25.0,
}


def test_mean_deviation_seeds_and_gaps(tmp_path):
    table = metric_table(group_of(tmp_path / "a", SCORES), BLEU)
    assert table.header == ["sparsity, %", "SLT", "MP"]
    assert table.rows == [
        ["0", "27.5 ± 0.7", "27.5 ± 0.7"],
        ["50", "26.1 ± 0.1", "25.0 ± 0.0"],
        ["90", "20.0 (n=1)", "–"],
    ]
    assert "mean ± sample standard deviation over 2 seeds" in table.caption
    assert table.notes[-1].endswith(
        "of the 10 planned cells (technique, sparsity and seed), 3 have none."
    )
    assert "Sparsity is a share of all-matrices (1,000 weights)." in table.notes
    assert table.slug == "bleu-test-best-beam4-lenpen0-6"


def test_updates_behind_each_cell(tmp_path):
    """SLT in two rounds: the dense model, the round before, and its own; of MP its own only."""
    made = Made(tmp_path / "a", techniques=("slt", "mp"), seeds=(1,))
    for cell in made.cells():
        made.records.append(
            score_record(**made.training(*cell), score=30.0, hypotheses=None, references=None)
        )

    def stages(name, needs, updates, first=0):
        facts = {"updates": updates, "first_update": first}
        folder = f"seed1/{name}"
        leaves = [f"{folder}/{file}" for file in ("best.pt", "snapshot_5.safetensors", "last.pt")]
        ticket = f"{folder}/ticket.safetensors"
        common = {"folder": folder, "title": name, "command": ["true"]}
        yield {**common, "kind": "draw", "needs": needs, "leaves": [ticket]}
        yield {**common, "kind": "train", "needs": [ticket], "leaves": leaves, "facts": facts}

    first = ["seed1/dense-0/last.pt", "seed1/dense-0/snapshot_5.safetensors"]
    made.plan["stages"] = [
        *stages("dense-0", [], 20),
        *stages("slt-0.5", first, 20),
        *stages("slt-0.9", ["seed1/slt-0.5/last.pt"], 20, 5),
        *stages("mp-0.5", [], 30),
        *stages("mp-0.9", ["seed1/dense-0/snapshot_5.safetensors"], 1000),
    ]
    (group,) = gather([read_run(made.write())])
    table = updates_table(group)
    assert table.rows == [["0", "20", "20"], ["50", "40", "30"], ["90", "55", "1,005"]]
    made.plan["stages"] = []
    (group,) = gather([read_run(made.write())])
    assert updates_table(group) is None


def test_the_csv_has_full_precision(tmp_path):
    table = metric_table(group_of(tmp_path / "a", SCORES), BLEU)
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert float(rows[0]["slt sd"]) == pytest.approx(0.5**0.5)
    assert [row["slt seeds"] for row in rows] == ["2", "2", "1"]
    assert rows[2]["mp mean"] == "" and rows[2]["slt sd"] == ""


def test_one_seed_has_no_deviation(tmp_path):
    one = {cell: score for cell, score in SCORES.items() if cell[2] == 1}
    table = metric_table(group_of(tmp_path / "a", one), BLEU)
    assert table.rows[1] == ["50", "26.0", "25.0"] and "one seed, so no deviation" in table.caption


def test_only_the_dense_model(tmp_path):
    table = metric_table(group_of(tmp_path / "a", {("dense", 0.0, 1): 27.0}), BLEU)
    assert table.header == ["sparsity, %", "dense"] and table.rows == [["0", "27.0"]]


def test_sparsities_of_different_weights_are_said(tmp_path):
    made = Made(tmp_path / "a")
    made.records += [
        score_record(),
        score_record(technique="mp", denominator="no-embeddings", prunable=700),
    ]
    (group,) = gather([read_run(made.write())])
    assert (
        "Sparsity is NOT a share of the same weights in all columns: all-matrices (1,000 weights)"
        " for SLT; no-embeddings (700 weights) for MP."
    ) in metric_table(group, BLEU).notes


def test_scores_around_one_have_three_decimals(tmp_path):
    made = Made(tmp_path / "a")
    made.records += [score_record(metric="COMET", score=0.84125), score_record(score=0.3)]
    (group,) = gather([read_run(made.write())])
    comet = Evaluation("test", "best-beam4-lenpen0.6", "COMET")
    assert metric_table(group, comet).rows[2] == ["90", "0.841"]
    assert metric_table(group, BLEU).rows[2] == ["90", "0.3"]


def test_losses_have_three_decimals_and_less_is_better(tmp_path):
    made = Made(tmp_path / "a")
    made.records.append(score_record(metric="loss", score=5.3264, beam=None, lenpen=None))
    (group,) = gather([read_run(made.write())])
    table = metric_table(group, Evaluation("test", "best-beam4-lenpen0.6", "loss"))
    assert table.rows[2] == ["90", "5.326"] and "Less is better." in table.notes


def test_published_figures_have_columns_of_their_own(tmp_path):
    group = group_of(tmp_path / "a", SCORES)
    table = comparison_table(group, BLEU, load("brix2020-en-de"))
    assert table.header == [
        *("sparsity, %", "SLT, here", "SLT, published", "MP, here", "MP, published"),
        "size, MB, published",
    ]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["0"] == ["27.5 ± 0.7", "26.8", "27.5 ± 0.7", "26.8", "234"]
    assert rows["50"] == ["26.1 ± 0.1", "26.6", "25.0 ± 0.0", "26.4", "137"]
    assert rows["98"] == ["–", "11.0", "–", "15.8", "7"]
    assert any(note.startswith("Published (Brix, Bahar & Ney") for note in table.notes)
    assert "The recipes differ, so the figures do not prove a difference." in table.notes


def test_remarks_on_single_figures_stand_below(tmp_path):
    group = group_of(tmp_path / "a", SCORES)
    table = comparison_table(group, BLEU, load("brix2020-en-fr"))
    assert "SLT at 98 %, published: one run; the other failed." in table.notes
    assert not any("MP at" in note for note in table.notes)


def test_no_comparison_without_a_figure_of_the_metric(tmp_path):
    made = Made(tmp_path / "a")
    made.records.append(score_record(metric="chrF"))
    (group,) = gather([read_run(made.write())])
    chrf = Evaluation("test", "best-beam4-lenpen0.6", "chrF")
    assert comparison_table(group, chrf, load("brix2020-en-de")) is None


def test_what_differs_in_the_recipe(tmp_path):
    recipe = {**RECIPE, "rewind": 25000, "dropout": "0.1"}
    table = recipe_table(group_of(tmp_path / "a", SCORES, recipe=recipe), load("brix2020-en-de"))
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["updates"] == ["500000", "1000"]
    assert rows["optimizer"] == ["Adafactor", "masked_adam"]
    assert rows["beam"] == ["4", "–"]
    assert "rewind" not in rows and "dropout" not in rows
    assert table.notes[1] == "Equal in both: rewind (25000), dropout (0.1)."


TABLE = Table("t", "BLEU & more: 90 %", ["a|b", "c_d"], [["26.6 ± 0.2", "–"], ["<x>", "5 %"]],
              ["signature `a|b_c`."])  # fmt: skip


def test_markdown():
    assert markdown(TABLE) == (
        "| a\\|b | c_d |\n| --- | ---: |\n| 26.6 ± 0.2 | – |\n| \\<x> | 5 % |\n"
    )


def test_latex_has_booktabs_and_no_bare_special_sign():
    text = latex(TABLE)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:t}"):
        assert text.count(rule) == 1
    assert r"26.6 $\pm$ 0.2 & -- \\" in text and r"\textless{}x\textgreater{} & 5 \% \\" in text
    assert r"\caption{BLEU \& more: 90 \%}" in text
    assert r"\texttt{a\textbar{}b\_c}" in text


def test_a_wide_table_spans_both_columns():
    header = ["sparsity, %", *["MP, here"] * 9]
    text = latex(Table("w", "c", header, [["0"] * 10]))
    assert r"\begin{table*}" in text and r"\shortstack[r]{MP,\\here}" in text
    assert text.count(" & ") == 2 * 9


@PROPERTY
@given(st.text(alphabet="ab\\&%$#_{}~^<>|±×–`", max_size=12))
def test_latex_text_has_balanced_braces_and_escapes(text):
    found = latex_text(text).replace(r"\{", "").replace(r"\}", "")
    assert found.count("{") == found.count("}")
    bare = found
    for escaped in (r"\&", r"\%", r"\$", r"\#", r"\_", r"$\pm$", r"$\times$"):
        bare = bare.replace(escaped, "")
    assert not set(bare) & set("&%$#_~^<>|")


@PROPERTY
@given(st.integers(min_value=0, max_value=10_000))
def test_percent_keeps_the_number(basis_points):
    assert float(percent(basis_points / 10_000)) == pytest.approx(basis_points / 100)


def test_a_row_0_of_its_own_replaces_the_dense_model(tmp_path):
    """Of a technique that trains the dense model further; the others show the dense model."""
    scores = {**SCORES, ("mp", 0.0, 1): 27.5, ("mp", 0.0, 2): 28.5}
    table = metric_table(group_of(tmp_path / "a", scores), BLEU)
    assert table.rows[0] == ["0", "27.5 ± 0.7", "28.0 ± 0.7"]
    assert table.rows[1] == ["50", "26.1 ± 0.1", "25.0 ± 0.0"]
    note = "0 % is the dense model; for MP it is a training of its own without a mask."
    assert note in table.notes
    plain = metric_table(group_of(tmp_path / "b", SCORES), BLEU)
    assert "0 % is the dense model, the same for every technique." in plain.notes
    only = {cell: score for cell, score in scores.items() if cell[0] != "mp" or not cell[1]}
    table = metric_table(group_of(tmp_path / "c", only), BLEU)
    by_title = dict(zip(table.header, zip(*table.rows)))
    assert by_title["MP"][0] == "28.0 ± 0.7" and set(by_title["MP"][1:]) == {"–"}


def test_the_sparsity_of_masks_of_pairs_is_that_of_one(tmp_path):
    made = Made(tmp_path / "a", techniques=("slt", "mp"), seeds=(1,))
    for technique, pair_mask in (("slt", "sides:de-en,en-fr"), ("mp", None)):
        record = score_record(technique=technique, sparsity=0.5, seed=1, score=20.0)
        made.records.append({**record, **({"pair_mask": pair_mask} if pair_mask else {})})
    (group,) = gather([read_run(made.write())])
    notes = metric_table(group, BLEU).notes
    assert (
        "The sparsity of SLT is that of the mask of one pair of languages; the model has the"
        " weights of all masks." in notes
    )


def test_a_title_names_the_rule_for_pairs_without_a_mask():
    key = Evaluation("test.na-sb", "best-beam4-lenpen0.6-na-sb-by-sides.na-en.en-sb", "BLEU")
    words = "best checkpoint, beam 4, length penalty 0.6, masks of pairs: sides.na-en.en-sb"
    assert key.words == words
    other = Evaluation("test.by-x", "last-beam4-lenpen1-by-x", "BLEU")
    assert other.words.startswith("last checkpoint, beam 4")
