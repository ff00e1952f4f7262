"""The transfer matrix, universal masks and overlaps against counts by hand."""

import csv
import io

import numpy as np
import pytest
from report.made_data_sets import MadeDataSets

pytest.importorskip("matplotlib")
torch = pytest.importorskip("torch")

from fairseq_lottery.formats import load_mask, save_mask  # noqa: E402
from fairseq_lottery.masks import Mask  # noqa: E402
from fairseq_lottery.report import gather, load, read_run, size  # noqa: E402
from fairseq_lottery.report.plots.heat_maps import Differences, heat_maps  # noqa: E402
from fairseq_lottery.report.plots.mask_maps import data_set_overlaps  # noqa: E402
from fairseq_lottery.report.plots.transfer_maps import (  # noqa: E402
    difference_maps,
    published_map,
    transfer_maps,
)
from fairseq_lottery.report.reading.families import families, views  # noqa: E402
from fairseq_lottery.report.reading.mask_tables import (  # noqa: E402
    overlaps_of_data_sets,
    read_masks,
)
from fairseq_lottery.report.statistics.transfer import (  # noqa: E402
    own_techniques,
    rows_of,
    transfer_matrices,
    transfer_rows,
)
from fairseq_lottery.report.tables.overlap_tables import overlap_table  # noqa: E402
from fairseq_lottery.report.tables.published_data_sets import (  # noqa: E402
    as_good_as_own,
    published_transfers,
)
from fairseq_lottery.report.tables.table_formats import comma_separated  # noqa: E402
from fairseq_lottery.report.tables.transfer_tables import (  # noqa: E402
    transfer_table,
    universal_table,
    universal_text,
)

PAGE = size("16cm", 9)
A, B, C = "acceptability", "agreement", "masked-words"
SETS = {
    A: ("sentence_prediction", "mcc", True, 400, 54.0),
    B: ("sentence_prediction", "accuracy", True, 800, 91.0),
    C: ("masked_lm", "loss", False, 5000, 2.5),
}
#: technique -> deviations below the full model on A, B, C at 50 %; * 10 at 70 %
DROPS = {
    f"transfer-{A}": (0.5, 2.0, 3.0),
    f"transfer-{B}": (0.5, 1.5, 0.5),  # equal to A's own mask on A, so at least as good
    f"transfer-{C}": (0.4, 1.6, 0.6),
    "random": (5.0, 1.5, 5.0),
    "pruned-before": (0.6, 1.6, 0.7),
}


def drop(technique, data, sparsity):
    if not sparsity:
        return 0.0
    technique = f"transfer-{data}" if technique == "imp" else technique
    return DROPS[technique][list(SETS).index(data)] * (10 if sparsity == 0.7 else 1)


def family_of(made):
    (family,) = families(gather([read_run(made.write())]))
    return family


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    made = MadeDataSets(tmp_path_factory.mktemp("transfer") / "run", SETS)
    return family_of(made.score(drop).masks())


def test_rows_are_data_sets_and_then_controls(family):
    assert [(row.title, row.technique, row.source) for row in rows_of(family)] == [
        *((name, f"transfer-{name}", name) for name in (A, B, C)),
        ("random mask", "random", None),
        ("pruned before fine-tuning", "pruned-before", None),
    ]
    (view,) = views(family)
    assert list(transfer_matrices(family, view)) == [0.5, 0.7]


def test_the_count_of_targets_as_good_as_their_own_mask(family):
    (view,) = views(family)
    rows = transfer_rows(family, view, 0.5)
    assert [(row.as_good, row.compared) for row in rows] == [
        (0, 2),  # B: 2.0 against 1.5; C: 3.0 against 0.6
        (2, 2),  # A: 0.5 against 0.5; C: 0.5 against 0.6
        (1, 2),  # A: 0.4 against 0.5; B: 1.6 against 1.5
        (1, 3),  # B: 1.5 against 1.5
        (0, 3),
    ]


def test_the_transfer_table(family):
    (view,) = views(family)
    table = transfer_table(family, view)
    assert table.header == [
        "sparsity, %", "mask of", f"{A}, mcc", f"{B}, accuracy", f"{C}, loss", "as good as own",
    ]  # fmt: skip
    assert table.rows[0][1:] == ["all weights", "54.0 ± 1.0", "91.0 ± 1.0", "2.500 ± 0.020", "–"]
    assert table.rows[1] == ["50", A, "53.5 (-0.5)*", "89.0 (-2.0)", "2.560 (+0.060)", "0 of 2"]
    assert table.rows[3] == ["50", C, "53.6 (-0.4)*", "89.4 (-1.6)", "2.512 (+0.012)*", "1 of 2"]
    assert len(table.rows) == 1 + 2 * 5
    assert "Units: mcc, accuracy in percent; loss in nats." in table.notes
    assert "Less is better: loss." in table.notes
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert len(rows) == 2 * 5 * 3
    (row,) = (r for r in rows if (r["sparsity"], r["source"], r["target"]) == ("0.5", A, C))
    assert float(row["difference"]) == pytest.approx(0.06) and row["matches"] == "False"
    assert (row["seeds"], row["as good"], row["compared"]) == ("3", "0", "2")


def test_universal_masks_are_counted(family):
    (view,) = views(family)
    table = universal_table(family, view)
    assert table.rows[:3] == [[A, "1 of 3", "0 of 3"], [B, "2 of 3", "0 of 3"],
                              [C, "2 of 3", "0 of 3"]]  # fmt: skip
    assert universal_text(family, view).endswith("tried at 50, 70 %: none.")


def test_a_universal_mask_is_named(tmp_path):
    drops = {f"transfer-{C}": 0.9, "random": 1.1, "pruned-before": 2.0}
    made = MadeDataSets(tmp_path / "run", SETS, sources=[C], sparsities=(0.5,))
    family = family_of(made.score(lambda technique, *_: drops.get(technique, 0.0)))
    (view,) = views(family)
    assert universal_table(family, view).rows[0] == [C, "universal (3 of 3)"]
    assert universal_text(family, view) == (
        "Masks that match the full model on all 3 data sets (universal), tried at 50 %: 50 %:"
        " masked-words."
    )


def test_one_seed_gives_no_verdict_but_differences(tmp_path):
    family = family_of(MadeDataSets(tmp_path / "run", SETS, seeds=(2,)).score(drop))
    (view,) = views(family)
    assert universal_table(family, view).rows[0] == [A, "0 of 3, 3 ?", "0 of 3, 3 ?"]
    assert "unknown" in universal_text(family, view)
    table = transfer_table(family, view)
    assert not any("*" in cell for row in table.rows for cell in row)
    assert "one seed" in table.caption and "One seed has none." in table.notes[0]


def test_missing_cells_do_not_count(tmp_path):
    made = MadeDataSets(tmp_path / "run", SETS, sparsities=(0.5,))
    skipped = [(B, f"transfer-{A}"), (C, f"transfer-{C}")]
    family = family_of(made.score(drop, skip=lambda cell: cell[:2] in skipped))
    (view,) = views(family)
    rows = transfer_rows(family, view, 0.5)
    assert [(row.as_good, row.compared) for row in rows[:2]] == [(0, 0), (1, 1)]
    assert transfer_table(family, view).rows[1][3:] == ["–", "2.560 (+0.060)", "–"]
    assert universal_table(family, view).rows[0] == [A, "1 of 3, 1 ?"]


def test_a_source_subset_is_compared_with_the_own_masks_of_imp(tmp_path):
    made = MadeDataSets(tmp_path / "run", SETS, sources=[A], sparsities=(0.5,))
    (view,) = views(family := family_of(made.score(drop)))
    (row, *_) = transfer_rows(family, view, 0.5)
    assert row.masks.own == {A: f"transfer-{A}", B: "imp", C: "imp"}
    assert (row.as_good, row.compared) == (0, 2)


def test_without_transfer_there_is_no_matrix(tmp_path):
    family = family_of(MadeDataSets(tmp_path / "run", SETS, sources=[]).score(drop))
    (view,) = views(family)
    assert transfer_table(family, view) is None and universal_table(family, view) is None
    assert transfer_maps(family, view, PAGE) == [] and universal_text(family, view) == ""


def test_percent_and_losses_have_plots_of_their_own(family):
    (view,) = views(family)
    drawings = transfer_maps(family, view, PAGE)
    assert [each.slug for each in drawings] == ["transfer-best-percent", "transfer-best-loss"]
    assert "(less is better)" in drawings[1].caption and "less is" not in drawings[0].caption


def test_a_map_of_differences():
    """Colours are centred at 0, and a large value does not take them from the others."""
    nan = float("nan")
    cells = [[-1.0, 0.0, nan], [0.5, -54.5, nan], [1.0, -0.5, nan]]
    texts = [[["-1.0", "0.0", "2/2"], ["+0.5", "-54.5", "0/2"], ["+1.0", "-0.5", ""]]]
    framed = [[[False, True], [True, False], [True, True]]]
    figure = difference_maps([("50 %", cells)], texts, framed, "abc", "xyz", PAGE, "accuracy")
    panel, *empty = figure.axes
    assert not any(axes.get_visible() for axes in empty)
    (mesh,) = panel.collections
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-1.0, 1.0) and mesh.cmap.name == "RdBu"
    assert figure.get_suptitle() == "accuracy (colours end at ±1)"
    assert len(panel.patches) == 4
    shown = {text.get_text(): text.get_color() for text in panel.texts}
    dark = {"-1.0", "-54.5", "+1.0"}
    words = {word for row in texts[0] for word in row if word}
    assert shown == {word: "white" if word in dark else "black" for word in words}


def test_counts_are_shown_without_room_for_numbers():
    side = 40
    cells = [[*([0.5] * side), float("nan")]] * 3
    texts = [[[*(["+0.5"] * side), "40/40"]] * 3]
    labels = {n: f"name {n}" for n in range(side + 1)}
    rows = {n: f"row {n}" for n in range(3)}
    figure = heat_maps([("a", cells)], labels, rows, PAGE, "difference", low=-1, in_percent=False,
                       texts=texts, differences=Differences([[[False] * side] * 3], 4))  # fmt: skip
    assert [text.get_text() for text in figure.axes[0].texts] == ["40/40"] * 3


def test_overlaps_of_data_sets_are_those_of_numpy(family):
    assert own_techniques(family) == ["imp"]
    overlaps, unlike = overlaps_of_data_sets(family, ["imp"])
    assert unlike == 0 and len(overlaps) == 2 * (9 * 8 // 2), (
        "all pairs of three data sets and three seeds"
    )
    for pair in overlaps[::7]:
        masks = []
        for name, cell in zip(pair.data, (pair.a, pair.b)):
            path, _ = family.groups[name].models[cell]
            masks.append(load_mask(path.with_suffix(".mask")))
        both = either = expected = 0.0
        for matrix in masks[0]:
            one, two = (mask[matrix].numpy() for mask in masks)
            both += np.sum(one & two)
            either += np.sum(one | two)
            expected += one.mean() * two.mean() * one.size
        kept = sum(int(mask[matrix].sum()) for mask in masks for matrix in mask)
        assert pair.jaccard == pytest.approx(both / either)
        assert pair.chance == pytest.approx(expected / (kept - expected))
    table = overlap_table(family, overlaps)
    assert [row[:2] for row in table.rows] == [["global IMP", "50"], ["global IMP", "70"]]
    assert [(row[4], row[7]) for row in table.rows] == [("27", "9")] * 2
    between = [p.jaccard for p in overlaps if p.a[1] == 0.5 and p.data[0] != p.data[1]]
    assert table.rows[0][2] == f"{np.mean(between):.3f}" and len(table.data[1]) == len(overlaps)
    assert data_set_overlaps(family, "imp", overlaps, PAGE) is not None
    assert data_set_overlaps(family, "imp", [], PAGE) is None


def test_masks_of_other_prunable_sets_are_counted(tmp_path):
    made = MadeDataSets(tmp_path / "run", SETS, sparsities=(0.5,), seeds=(1, 2))
    made.score(drop).masks()
    for seed in (1, 2):
        path = made.folder / f"{C}/seed{seed}/imp-0.5/best.mask"
        save_mask(path, Mask({**load_mask(path), "head": torch.ones(2, 2).bool()}))
    family = family_of(made)
    overlaps, unlike = overlaps_of_data_sets(family, ["imp"])
    assert (len(overlaps), unlike) == (6 + 1, 8), "of A and B; of C; of C with A and B"
    assert {pair.data for pair in overlaps} == {(A, A), (A, B), (B, B), (C, C)}


def test_transferred_masks_are_not_read_again(family):
    masks = read_masks(family.first)
    assert {cell[0] for cell in masks.densities} == {"imp", "random", "pruned-before"}
    assert {pair.a[0] for pair in masks.overlaps} <= {"imp", "random", "pruned-before"}


def test_published_counts_are_those_of_the_paper():
    """Chen et al. 2020, figure 2: the last column, which compares more digits in one place."""
    (matrix,) = published_transfers(load("chen2020-bert-glue")).values()
    counts = {source: as_good_as_own(matrix, source) for source in matrix}
    assert counts == {
        "MNLI": (2, 10), "QQP": (2, 10), "STS-B": (1, 10), "WNLI": (0, 10), "QNLI": (2, 10),
        "MRPC": (1, 10), "RTE": (1, 10), "SST-2": (1, 10), "CoLA": (1, 10), "SQuAD": (4, 10),
        "MLM": (10, 10), "pruned-before": (5, 11),  # 4 in the paper: SQuAD is printed alike
    }  # fmt: skip


def test_the_published_map(family):
    drawing = published_map(family, load("chen2020-bert-glue"), PAGE)
    assert drawing.slug == "transfer-published" and "printed figures" in drawing.caption
    assert published_map(family, load("prasanna2020-bert-glue"), PAGE) is None
