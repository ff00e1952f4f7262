"""Published figures of the inside of models beside the tables of ``analyze``."""

import csv

import pytest
from report.made import Made

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
pytest.importorskip("sacrebleu")
pytest.importorskip("torch")

from fairseq_lottery.errors import LotteryError  # noqa: E402
from fairseq_lottery.report import load, size, write_report  # noqa: E402
from fairseq_lottery.report.reading.recipe_groups import gather  # noqa: E402
from fairseq_lottery.report.reading.records import read_run  # noqa: E402
from fairseq_lottery.report.tables.published_measures import measure_tables  # noqa: E402

PAGE = size("8cm", 8)
NAME = "movva2020-en-de-big"
COLUMNS = ("measure", "technique", "sparsity", "seed", "against", "part", "layer", "other_layer",
           "statistic", "component", "value")  # fmt: skip


def made(folder):
    found = Made(folder, techniques=("lr-rewind",), sparsities=(0.832228,), seeds=(1, 2),
                 published=NAME)  # fmt: skip
    return found.score()


def analyze(folder, rows):
    """The tables that ``analyze`` leaves; ``rows`` are texts in the order of the columns."""
    (folder / "analysis").mkdir()
    with open(folder / "analysis" / "similarity.csv", "w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *(row.split(",") for row in rows)])


def tables_of(run):
    (group,) = gather([read_run(run.write())])
    return {table.slug.removesuffix("-published"): table for table in
            measure_tables(group, load(NAME))}  # fmt: skip


def test_ours_stand_beside_figures_of_the_same_place(tmp_path):
    run = made(tmp_path / "run")
    analyze(run.folder, [
        "linear-cka,lr-rewind,0.832228,1,dense,encoder,1,1,,,0.8",
        "linear-cka,lr-rewind,0.832228,2,dense,encoder,1,1,,,0.9",
        "linear-cka,lr-rewind,0.832228,1,dense,encoder,1,2,,,0.1",  # of other layers
        "linear-cka,lr-rewind,0.832228,1,dense,decoder,2,2,,,0.2",  # of the decoder
        "linear-cka,slt,0.832228,1,dense,encoder,3,3,,,0.3",
        "linear-cka,lr-rewind,0.2,1,dense,encoder,4,4,,,0.4",
        "linear-cka,lr-rewind,0.832228,1,random,encoder,5,5,,,0.5",  # not against the dense one
        "rank-99,dense,0.0,1,,encoder,6,,standardised,,112",
        "rank-99,dense,0.0,1,,encoder,6,,centred,,111",
        "unpublished,lr-rewind,0.832228,1,,,,,,,1",
    ])  # fmt: skip
    tables = tables_of(run)
    assert list(tables) == [
        "linear-cka", "neuron-sim", "neuron-matches", "head-sim", "head-matches", "variance",
        "rank-99",
    ]  # fmt: skip
    cka = tables["linear-cka"]
    assert cka.header == [
        "technique", "sparsity, %", "part", "layer", "here", "published", "how it is known"
    ]  # fmt: skip
    assert [row[3:6] for row in cka.rows] == [
        ["1", "0.850 ± 0.071", "0.936"], *([str(n), "–", value] for n, value in
        enumerate(("0.913", "0.900", "0.870", "0.830", "0.855"), 2)),
    ]  # fmt: skip
    ranks = {(row[0], row[1], row[3]): (row[5], row[6]) for row in tables["rank-99"].rows}
    assert ranks["dense", "0", "6"] == ("112.0", "919")
    assert ranks["dense", "0", "1"] == ("–", "811")
    assert "run fairseq-lottery analyze" not in " ".join(cka.notes)
    assert "run fairseq-lottery analyze" in " ".join(tables["neuron-sim"].notes)


def test_the_report_has_them_once(tmp_path):
    run = made(tmp_path / "run")
    files = write_report([run.write()], tmp_path / "out", PAGE)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert text.count("No table of BLEU was found") == 1
    assert text.count("| 83.22 | encoder | 4 | – | 0.870 |") == 1
    assert "tables/linear-cka-published.csv" in files


@pytest.mark.parametrize("row", [
    "linear-cka,lr-rewind,0.832228,1,dense,encoder,1,1,,,high",
    "linear-cka,lr-rewind,0.832228,1,dense,encoder,1,1,,,nan",
    "linear-cka,lr-rewind,0.832228,one,dense,encoder,1,1,,,0.5",
    "linear-cka,lr-rewind,0.832228,1,dense,encoder,1,1,,,0.5,more",
    "linear-cka,lr-rewind,0.832228,1",
])  # fmt: skip
def test_a_malformed_table_is_one_sentence(tmp_path, row):
    run = made(tmp_path / "run")
    analyze(run.folder, [row])
    with pytest.raises(LotteryError, match=r"similarity.csv is malformed \(.*analyze again$"):
        tables_of(run)
