"""Stability of choices across data sets, against scikit-learn's kappa and counts by hand."""

import itertools

import numpy as np
import pytest
from report.made import ANATOMY
from report.made_data_sets import DATA_SETS, MadeDataSets

pytest.importorskip("matplotlib")
pytest.importorskip("statsmodels")
pytest.importorskip("torch")
metrics = pytest.importorskip("sklearn.metrics")

from fairseq_lottery.heads.choices.stability import survival  # noqa: E402
from fairseq_lottery.heads.components.choice_file import load_choice, save_choice  # noqa: E402
from fairseq_lottery.heads.components.component_mask import ComponentMask  # noqa: E402
from fairseq_lottery.heads.report.data_sets import data_set_section  # noqa: E402
from fairseq_lottery.report import gather, read_run, size  # noqa: E402
from fairseq_lottery.report.pages import Heading, Text  # noqa: E402
from fairseq_lottery.report.plots.drawings import Drawing  # noqa: E402
from fairseq_lottery.report.reading.families import families  # noqa: E402
from fairseq_lottery.report.tables.table_formats import Table  # noqa: E402

PAGE = size("16cm", 9)
LOWEST, TWIN = "heads-lowest-fine-tune", "heads-lowest-rewind"


def made(folder, techniques=(LOWEST,), **settings):
    rows = dict.fromkeys(techniques, "heads")
    return MadeDataSets(folder, techniques=techniques, sources=[], rows=rows, **settings).score()


def family_of(run):
    return families(gather([read_run(run.write())]))[0]


def tables_of(blocks):
    return [block for block in blocks if isinstance(block, Table)]


def test_agreement_within_a_seed_is_the_mean_over_seeds(tmp_path):
    run = made(tmp_path / "run").choices()
    blocks = data_set_section(family_of(run), PAGE)
    assert (
        isinstance(blocks[0], Heading) and blocks[0].text == "Stability of heads across data sets"
    )
    (table,) = tables_of(blocks)
    columns, rows = table.data
    assert len(rows) == 2 * 3 and columns[5:] == [
        "kappa", "alpha", "Jaccard", "by chance", "p", "kept by all",
    ]  # fmt: skip
    for row in rows:
        technique, share, seed, count, kept = row[:5]
        paths = [f"{d}/seed{seed}/{technique}-{share:g}/parts.json" for d in DATA_SETS]
        kept_by = survival([load_choice(run.folder / path)[0] for path in paths])
        assert count == 4 and kept == kept_by.sum() / 4 == 24 - round(share * 24)
        both = [np.sum(a & b) / np.sum(a | b) for a, b in itertools.combinations(kept_by.T, 2)]
        assert row[7] == pytest.approx(np.mean(both))
        assert row[10] == kept_by.all(axis=1).sum()
    means = np.mean([row[5:9] for row in rows[:3]], axis=0)
    assert table.rows[0][:5] == ["lowest heads, fine-tune", "50", "4", "3", "12"]
    assert table.rows[0][5:9] == [f"{mean:.2f}" for mean in means]
    assert table.rows[0][9] == f"{max(row[9] for row in rows[:3]):.3f}"


def test_a_map_has_the_kappa_of_each_pair(tmp_path, monkeypatch):
    from fairseq_lottery.heads.report import data_sets

    shown = {}
    monkeypatch.setattr(
        data_sets, "heat_maps", lambda panels, *args, **kw: shown.update(panels) or _empty(PAGE)
    )
    run = made(tmp_path / "run").choices()
    blocks = data_set_section(family_of(run), PAGE)
    assert sum(isinstance(block, Drawing) for block in blocks) == 1
    choices = {
        (name, seed): load_choice(run.folder / f"{name}/seed{seed}/{LOWEST}-0.7/parts.json")[0]
        for name in DATA_SETS for seed in (1, 2, 3)
    }  # fmt: skip
    names = list(DATA_SETS)
    for (y, a), (x, b) in itertools.product(enumerate(names), repeat=2):
        pairs = [
            survival([choices[a, m], choices[b, n]]).T
            for m, n in itertools.product((1, 2, 3), repeat=2)
            if a != b or m < n
        ]
        # with equal sizes, Cohen's kappa of two raters is Fleiss' kappa
        kappas = [metrics.cohen_kappa_score(*pair) for pair in pairs]
        value = shown["70 %"][y][x]
        assert value == pytest.approx(np.mean(kappas)) if x <= y else np.isnan(value)


def _empty(page):
    figure = page.new_figure(1)
    figure.add_subplot()
    return figure


def test_the_same_choices_are_shown_once(tmp_path):
    run = made(tmp_path / "run", techniques=(LOWEST, TWIN))
    for cell in run.cells():
        if cell[1] != "dense":
            about, keeps = run.about(cell), ComponentMask(ANATOMY, {})
            path = f"{about['training']}/parts.json"
            save_choice(run.folder / path, keeps, {})
            run.records.append({"kind": "parts", **about, "file": path})
    (table,) = tables_of(data_set_section(family_of(run), PAGE))
    assert [row[0] for row in table.rows] == ["lowest heads, fine-tune"] * 2
    assert table.rows[0][5:] == ["–", "–", "1.00", "1.00", "1.000", "24"], "all kept: undefined"


def test_without_choices_of_two_data_sets(tmp_path):
    assert data_set_section(family_of(made(tmp_path / "none")), PAGE) == []
    run = made(tmp_path / "one").choices()
    run.records = [r for r in run.records if r["kind"] != "parts" or r["data"] == "agreement"]
    *_, text = data_set_section(family_of(run), PAGE)
    assert text == Text("No two data sets have a choice of one technique and share.")
