"""The section of a report: figures, then tables, of the techniques of a group."""

from dataclasses import replace

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("torch")
from analysis.report.test_sweep_rows import record
from report.made import Made

from fairseq_lottery.analysis.report import section
from fairseq_lottery.analysis.report.figures import quantity_figure
from fairseq_lottery.analysis.sweep.tables import MeasureRecord, write_tables
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.report import gather, read_run, size
from fairseq_lottery.report.pages import Heading, Points, Text
from fairseq_lottery.report.plots.drawings import Drawing
from fairseq_lottery.report.tables.table_formats import Table

PAGE = size("16cm", 9)
MEASURES = {
    "rank": MeasureRecord("rank", "complexity", "activations", 0.0),
    "cka": MeasureRecord("CKA", "similarity", "activations", 0.0, 1.0),
}
CELLS = [("dense", 0.0), ("slt", 0.5), ("heads-lowest", 0.5), ("gone", 0.5)]
ROWS = {
    "complexity": [
        {"measure": "rank", "technique": name, "sparsity": sparsity, "seed": 1, "part": "encoder",
         "layer": 1, "value": 7.5} for name, sparsity in CELLS
    ],
    "similarity": [
        {"measure": "cka", "technique": name, "sparsity": sparsity, "seed": 1, "against": "dense",
         "other_seed": 1, "part": "encoder", "layer": 1, "other_layer": 1, "value": 0.5}
        for name, sparsity in CELLS[1:]
    ],
}  # fmt: skip


@pytest.fixture
def group_of(tmp_path, monkeypatch):
    monkeypatch.setattr(quantity_figure, "draw", lambda name, caption, page, *_: Drawing(
        name, caption, page.width, {}))  # fmt: skip

    def made(techniques=("slt",), folders=("a",), counts=None, rows=ROWS):
        runs = []
        for seed, name in enumerate(folders, 1):
            kinds = {"heads-lowest": "heads"}
            made = Made(tmp_path / name, techniques, (0.5,), (seed,), rows=kinds).score()
            runs.append(made.write())
            if rows:
                (tmp_path / name / "analysis").mkdir()
                changes = {"counts": counts[seed - 1]} if counts else {}
                counted = {command: len(own) for command, own in rows.items()}
                content = replace(record(measures=MEASURES, **changes), rows=counted)
                write_tables(tmp_path / name / "analysis", rows, content)
        return gather(map(read_run, runs))

    return made


def test_pictures_come_before_their_tables(group_of):
    (group,) = group_of()
    blocks = section(group, PAGE)
    kinds = [type(block) for block in blocks]
    assert kinds == [Heading, Text, Heading, Drawing, Table, Heading, Drawing, Drawing, Table, Text,
                     Points]  # fmt: skip
    drawings = [block.slug for block in blocks if isinstance(block, Drawing)]
    assert drawings == ["rank-by-sparsity", "cka-dense-by-sparsity", "cka-dense-layers"]
    table = blocks[4]
    assert table.rows == [["dense", "0", "encoder", "7.500"], ["SLT", "50", "encoder", "7.500"]]
    assert blocks[8].rows == [["SLT", "50", "encoder", "50.0"]]
    assert blocks[-1].items == ["cka of a and 1 more: few words."]


def test_each_group_has_its_own_techniques(group_of):
    groups = group_of(("slt", "heads-lowest"))
    names = []
    for group in groups:
        blocks = section(group, PAGE)
        names.append({row[0] for block in blocks if isinstance(block, Table) for row in block.rows})
        assert all(block.slug.startswith(group.slug) for block in blocks
                   if isinstance(block, (Drawing, Table)))  # fmt: skip
    assert names == [{"dense", "SLT"}, {"dense", "lowest heads"}]


def test_without_an_analysis_there_is_no_section(group_of):
    (group,) = group_of(rows=None)
    assert section(group, PAGE) == []


def test_seeds_of_two_folders_are_one_section(group_of):
    (group,) = group_of(folders=("a", "b"), counts=[{"source": 5}, {"source": 5}])
    tables = [block for block in section(group, PAGE) if isinstance(block, Table)]
    assert tables[0].data[1][1][-1] == 2


def test_analyses_of_other_words_are_refused(group_of):
    (group,) = group_of(folders=("a", "b"), counts=[{"source": 5}, {"source": 6}])
    with pytest.raises(LotteryError, match="6 source words"):
        section(group, PAGE)
