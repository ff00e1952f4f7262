import io
import math
import re
from dataclasses import replace

import pytest
from report.made import Made, score_record

pytest.importorskip("matplotlib")
torch = pytest.importorskip("torch")
from matplotlib import colormaps, rcParams  # noqa: E402
from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402

from fairseq_lottery.errors import LotteryError  # noqa: E402
from fairseq_lottery.formats import read_source  # noqa: E402
from fairseq_lottery.masks import overlap  # noqa: E402
from fairseq_lottery.report import gather, read_run, size  # noqa: E402
from fairseq_lottery.report.plots import curves  # noqa: E402
from fairseq_lottery.report.plots.curves import (  # noqa: E402
    learning_curves,
    seed_overlaps,
    sparsity_curves,
)
from fairseq_lottery.report.plots.drawings import limits, looks, share_axis  # noqa: E402
from fairseq_lottery.report.plots.heat_maps import heat_maps  # noqa: E402
from fairseq_lottery.report.plots.mask_maps import (  # noqa: E402
    density_map,
    place,
    technique_overlaps,
)
from fairseq_lottery.report.reading.mask_tables import Masks, Overlap, read_masks  # noqa: E402
from fairseq_lottery.report.reading.table_words import Evaluation  # noqa: E402

BLEU = Evaluation("test", "best-beam4-lenpen0.6", "BLEU")
COLUMN = size("8cm", 8)


@pytest.fixture(scope="module")
def group(finished):
    (group,) = gather([read_run(finished)])
    return group


@pytest.fixture(scope="module")
def masks(group):
    return read_masks(group)


@pytest.fixture(scope="module")
def even(masks):
    """The same with equal densities, as in matrices that are larger than these."""
    densities = {cell: dict.fromkeys(kept, 1 - cell[1]) for cell, kept in masks.densities.items()}
    return replace(masks, densities=densities)


def drawings(group, masks, page):
    return [
        sparsity_curves(group, BLEU, page),
        learning_curves(group, "loss", page),
        learning_curves(group, "bleu", page),
        density_map(group, masks, page),
        technique_overlaps(group, masks, page),
        seed_overlaps(group, masks, page),
    ]


def test_every_plot_has_the_width_in_every_format(group, masks):
    inches = 8 / 2.54
    assert size("3.5in", 8).width == 3.5
    for drawing in drawings(group, masks, COLUMN):
        assert set(drawing.files) == {"pdf", "svg", "png"}
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", drawing.files["pdf"])
        assert float(box.group(1)) == pytest.approx(72 * inches, abs=1), drawing.slug
        assert float(box.group(2)) < 72 * 12, "no higher than a page"
        svg = re.search(rb'<svg [^>]*width="([\d.]+)pt"', drawing.files["svg"])
        assert float(svg.group(1)) == pytest.approx(72 * inches, abs=1)
        pixels = Image.open(io.BytesIO(drawing.files["png"])).size
        assert pixels[0] == pytest.approx(300 * inches, abs=1)


def test_matplotlibs_settings_are_put_back(group):
    before = dict(rcParams)
    sparsity_curves(group, BLEU, COLUMN)
    assert dict(rcParams) == before


def test_the_sparsity_axis_is_log_density_labelled_in_percent():
    axes = Figure().add_subplot()
    share_axis(axes, [0.5, 0.9, 0.98], COLUMN, logarithmic=True)
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "log" and low > high, "sparsity rises to the right"
    labels = {round(x, 6): t.get_text() for x, t in zip(axes.get_xticks(), axes.get_xticklabels())}
    assert labels == {0.5: "50", 0.1: "90", 0.02: "98"}


def test_labels_that_would_touch_are_left_out_at_the_dense_end():
    axes = Figure().add_subplot()
    shares = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98]
    share_axis(axes, shares, COLUMN, logarithmic=True)
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown[:3] == ["98", "95", "90"] and len(shown) < 11
    assert len(shown) + len(axes.get_xticks(minor=True)) == 11


def test_techniques_look_different_without_colour():
    every = list(looks(f"t{n}" for n in range(16)).values())
    assert len({(look["color"], look["marker"]) for look in every}) == 16
    assert len({(look["marker"], str(look["linestyle"])) for look in every}) == 16


def test_an_axis_does_not_zoom_into_noise():
    low, high = limits([26.9, 27.1])
    assert low < 26 and high > 28
    assert limits([10.0, 30.0]) == pytest.approx((9, 31))
    assert limits([0.0]) == pytest.approx((-0.55, 0.55))


def test_sixteen_techniques_fit_a_column(tmp_path):
    made = Made(tmp_path / "a", techniques=[f"technique-{n}" for n in range(16)])
    for technique, sparsity, seed in made.cells():
        made.records.append(score_record(technique=technique, sparsity=sparsity, seed=seed))
    (group,) = gather([read_run(made.write())])
    assert sparsity_curves(group, BLEU, COLUMN) is not None


def test_techniques_at_one_sparsity_are_ranked(tmp_path, monkeypatch):
    """The best one is on top; overlaps are those above the chance of each technique."""
    monkeypatch.setattr(curves, "draw", lambda _, text, page, paint: (text, paint(page)))
    made = Made(tmp_path / "a", ("slt", "mp", "random"), (0.5,), seeds=(1, 2))
    scores = {"dense": 30, "slt": 21, "mp": 25, "random": 23}
    for technique, sparsity, seed in made.cells():
        for metric in ("BLEU", "TER"):
            score = scores[technique] + seed
            made.records.append(score_record(metric=metric, technique=technique, sparsity=sparsity,
                                             seed=seed, score=score))  # fmt: skip
    (group,) = gather([read_run(made.write())])

    def ranked(figure):
        (axes,) = figure.axes
        return [label.get_text() for label in axes.get_yticklabels()]

    caption, figure = sparsity_curves(group, BLEU, COLUMN)
    assert caption.startswith("BLEU on test at 50 % sparsity (")
    assert ranked(figure) == ["MP", "random mask", "SLT"]
    dense = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert dense[0].get_xdata() == [31.5, 31.5]
    assert ranked(sparsity_curves(group, replace(BLEU, metric="TER"), COLUMN)[1]) == [
        "SLT", "random mask", "MP"
    ]  # fmt: skip
    pairs = [
        Overlap((name, 0.5, 1), (name, 0.5, 2), jaccard, chance)
        for name, jaccard, chance in (("slt", 0.4, 0.4), ("mp", 0.3, 0.2), ("random", 0.35, 0.3))
    ]
    _, figure = seed_overlaps(group, Masks(overlaps=pairs), COLUMN)
    assert ranked(figure) == ["MP", "random mask", "SLT"]


def test_nothing_to_draw(tmp_path):
    made = Made(tmp_path / "a")
    made.records.append(score_record(technique="dense", sparsity=0.0))
    (group,) = gather([read_run(made.write())])
    assert drawings(group, Masks(), COLUMN) == [None] * 6


def test_a_loss_that_was_nan_leaves_a_gap(tmp_path):
    made = Made(tmp_path / "a").curve(("loss",), points=4)
    made.records[1]["value"] = float("nan")
    (group,) = gather([read_run(made.write())])
    assert learning_curves(group, "loss", COLUMN) is not None


def test_maps_that_are_uniform_by_construction_are_left_out(group, even):
    assert density_map(group, even, COLUMN) is None, "each matrix keeps the same share"
    even.densities["slt", 0.5, 1]["encoder.layers.0.fc1.weight"] = 0.8
    caption = density_map(group, even, COLUMN).caption
    assert "Omitted, as all matrices keep the same share: MP, random mask." in caption


@pytest.mark.parametrize(("side", "written"), [(3, 9), (60, 0)])
def test_small_maps_have_numbers_and_large_ones_a_bar(side, written):
    labels = {n: f"row {n}" for n in range(side)}
    figure = heat_maps([("a", [[0.5] * side] * side)], labels, labels, COLUMN, "density, %")
    assert len(figure.axes[0].texts) == written
    assert len(figure.axes) == (1 if written else 2) or not figure.axes[-1].get_visible()


def test_the_first_row_of_a_map_is_on_top_and_empty_cells_have_no_colour():
    cells = [[0.0, 0.25], [0.5, math.nan], [1.0, 1.0]]
    labels = {n: f"row {n}" for n in range(3)}
    figure = heat_maps(
        [("a", cells), ("b", cells)], {0: "x", 1: "y"}, labels, COLUMN, "share", empty="white"
    )
    for panel in figure.axes[:2]:
        (mesh,) = panel.collections
        assert panel.get_ylim() == (2.5, -0.5) and panel.get_xlim() == (-0.5, 1.5)
        figure.draw_without_rendering()
        colours = mesh.get_facecolors().reshape(3, 2, 4).tolist()
        assert colours[1][1] == [1, 1, 1, 1]
        assert colours[2] == [list(colormaps["cividis"](1.0))] * 2
        assert colours[0][0] == list(colormaps["cividis"](0.0))


def test_on_a_logarithmic_scale_nothing_is_orange_and_missing_is_empty():
    cells = [[0.0, 2e-5], [0.5, math.nan]]
    labels = {n: f"row {n}" for n in range(2)}
    figure = heat_maps(
        [("a", cells)], {0: "x", 1: "y"}, labels, COLUMN, "density", low=1e-5, logarithmic=True,
        empty="white",
    )  # fmt: skip
    figure.draw_without_rendering()
    (mesh,) = figure.axes[0].collections
    colours = mesh.get_facecolors().reshape(2, 2, 4)
    assert [to_hex(colour) for colour in (colours[0, 0], colours[1, 1])] == ["#d55e00", "#ffffff"]
    assert colours[0, 1].tolist() == list(colormaps["cividis"](math.log(2) / math.log(1e5)))
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "<.1", "50"]


def test_pairs_of_masks_share_a_technique_or_a_seed(group, masks):
    assert len(masks.overlaps) == 2 * (2 * 3 + 3), "3 pairs in 2 seeds, 3 between them, twice"
    for pair in masks.overlaps:
        one, two = (read_source(group.models[cell][0]).mask for cell in (pair.a, pair.b))
        assert (pair.jaccard, pair.chance) == overlap(one, two)[""]
        assert pair.a[1] == pair.b[1] and (pair.a[0] == pair.b[0]) != (pair.a[2] == pair.b[2])


def test_overlap_above_chance():
    def above(found, chance):
        return Overlap(("a", 0.5, 1), ("b", 0.5, 1), found, chance).above_chance

    assert [above(1 / 3, 1 / 3), above(1, 1 / 3), above(1, 1)] == [0, 1, 1]
    assert above(2 / 3, 1 / 3) == pytest.approx(0.5) and above(0, 1 / 3) == pytest.approx(-0.5)


def test_densities_are_read_from_masks(masks):
    assert len(masks.densities) == 3 * 2 * 2
    kept = masks.densities["mp", 0.5, 1]
    assert kept["encoder.layers.0.fc1.weight"] == 0.5 and len(kept) == 33


def test_recorded_densities_do_without_the_checkpoint(tmp_path):
    made = Made(tmp_path / "a")
    record = {"kind": "model", "technique": "slt", "sparsity": 0.9, "seed": 1, "training": "t"}
    made.records.append(
        {**record, "file": "t/gone.pt", "checkpoint": "best", "matrices": {"w": 0.0, "v": 0.2}}
    )
    (group,) = gather([read_run(made.write())])
    masks = read_masks(group)
    assert masks.densities == {("slt", 0.9, 1): {"v": 0.2, "w": 0.0}} and masks.missing == 1
    assert density_map(group, masks, COLUMN) is not None, "a dead matrix can be drawn"


@pytest.mark.parametrize(
    "name, order, layer, own",
    [
        ("encoder.layers.10.self_attn.q_proj.weight", (1, 10, 2), "enc 10", "enc 10 self q"),
        ("decoder.layers.0.encoder_attn.out_proj.weight", (2, 0, 13), "dec 0", "dec 0 cross out"),
        ("decoder.layers.3.fc2.weight", (2, 3, 22), "dec 3", "dec 3 fc2"),
        ("encoder.embed_tokens.weight", (0, 0, 0), "embed", "enc embed"),
        ("something.else", (0, 0, 0), "other", "something.else"),
    ],
)
def test_where_a_matrix_stands(name, order, layer, own):
    assert place(name) == (order, layer, own)


@pytest.mark.parametrize(
    "width, font, said",
    [
        ("8", 8, "is not a width"),
        ("-8cm", 8, "is not a width"),
        ("1cm", 8, "1cm is out of range"),
        ("nancm", 8, "is not a width"),
        ("8cm", 2, "--font-size 2 is out of range"),
        ("8cm", float("nan"), "nan is out of range"),
    ],
)
def test_sizes_that_no_page_has(width, font, said):
    with pytest.raises(LotteryError, match=said):
        size(width, font)
