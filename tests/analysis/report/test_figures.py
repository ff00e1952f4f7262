"""The figures of rows: which there are by columns, and the values that they show."""

import csv
import io
import math
from dataclasses import replace

import pytest

pytest.importorskip("matplotlib")
from PIL import Image

from fairseq_lottery.analysis.matrix_places import matrix_place
from fairseq_lottery.analysis.report.figure_files import figures_of, plot, write_figures
from fairseq_lottery.analysis.report.figures import curve_figures, heat_map_figures, role_figures
from fairseq_lottery.analysis.report.figures.heat_map_figures import (
    head_grid,
    head_places,
    scale,
    shown_models,
)
from fairseq_lottery.analysis.report.figures.probe_figures import relative_rows
from fairseq_lottery.analysis.report.figures.role_figures import shares
from fairseq_lottery.analysis.report.layer_tables import layer_table
from fairseq_lottery.analysis.report.quantities import Scene, quantities, values_of, wrapped
from fairseq_lottery.analysis.report.sweep_rows import Sweep
from fairseq_lottery.analysis.sweep.tables import MeasureRecord
from fairseq_lottery.report.plots.drawings import Drawing, size
from fairseq_lottery.report.plots.heat_maps import value_text

PAGE = size("16cm", 9)
TECHNIQUES = {"slt": "SLT t = 5%", "mp": "MP"}
SCENE = Scene(TECHNIQUES, PAGE)
CELLS = [("dense", 0.0, 1), ("dense", 0.0, 2)] + [
    (name, sparsity, seed) for name in TECHNIQUES for sparsity in (0.5, 0.9) for seed in (1, 2)
]


def rows(measure="m", cells=CELLS, places=({},), value=lambda place, cell: cell[2] / 4, **more):
    return [
        {"measure": measure, "technique": cell[0], "sparsity": cell[1], "seed": cell[2],
         **more, **place, "value": value(place, cell)}
        for cell in cells for place in places
    ]  # fmt: skip


def sweep(*parts, limits=(0.0, 1.0), over="activations"):
    found = [row for part in parts for row in part]
    measures = {r["measure"]: MeasureRecord(f"title of {r['measure']}", "toy", over, *limits)
                for r in found}  # fmt: skip
    return Sweep(found, measures, words="9 source words of valid")


@pytest.fixture
def undrawn(monkeypatch):
    """Figures have their names, captions and values, and are not painted."""
    from fairseq_lottery.analysis.report.figures import quantity_figure

    monkeypatch.setattr(quantity_figure, "draw", lambda name, caption, page, *_: Drawing(
        name, caption, page.width, {}))  # fmt: skip


def drawn(swept, scene=SCENE):
    return {one.slug: one for one in figures_of(swept, scene)}


def values_in(drawing):
    return list(csv.DictReader(io.StringIO(drawing.files["csv"].decode())))


LAYERS = [{"part": part, "layer": n} for part in ("encoder", "decoder") for n in (1, 2, 3)]
PAIRS = [{**place, "other_layer": n} for place in LAYERS for n in (1, 2, 3)]
HEADS = [{"part": kind, "layer": n, "head": h}
         for kind in ("enc_dec", "dec_self", "enc_self")
         for n in (1, 2) for h in (1, 2)]  # fmt: skip
NAMES = [f"encoder.layers.0.self_attn.{n}_proj.weight" for n in "qkv"]
MATRICES = [{"part": "enc_self", "layer": 1, "matrix": name} for name in NAMES]
COMPONENTS = [{**place, "component": n} for place in LAYERS for n in (1, 2, 8)]


@pytest.mark.parametrize("places, more, expected", [
    (LAYERS, {}, {"m-by-sparsity"}),
    (PAIRS, {"against": "dense"}, {"m-dense-by-sparsity", "m-dense-layers"}),
    (HEADS, {}, {"m-heads"}),
    ([{**place, "other_head": 1, "other_layer": 1} for place in HEADS], {}, {"m-heads"}),
    (MATRICES, {}, {"m-matrices"}),
    (COMPONENTS, {}, {"m-components-encoder", "m-components-decoder"}),
    ([{}], {}, {"m-by-sparsity"}),
    ([{**place, "component": 1} for place in MATRICES], {}, set()),
    ([{"role": "local", "statistic": "p", **place} for place in HEADS], {}, set()),
    (
        [{"role": "local", "statistic": "has-role", **place} for place in HEADS], {},
        {"m-roles-by-sparsity", "m-roles-heads-dense", "m-roles-heads-slt-0-9",
         "m-roles-heads-mp-0-9", "m-roles-signs"},
    ),
])  # fmt: skip
def test_the_columns_decide_what_is_drawn(undrawn, places, more, expected):
    assert set(drawn(sweep(rows(places=places, **more)))) == expected


def test_two_seeds_are_compared_by_sparsity_only(undrawn):
    cells = [cell for cell in CELLS if cell[2] == 1]
    own = [{**row, "against": row["technique"], "other_seed": 2} for row in rows(
        cells=cells, places=[*PAIRS, *MATRICES])]  # fmt: skip
    assert set(drawn(sweep(own))) == {"m-seeds-by-sparsity", "m-seeds-matrices"}


def test_two_techniques_have_a_panel_per_second_one(undrawn):
    cells = [("lr-rewind", 0.5, 1), ("lr-rewind", 0.5, 2)]
    own = [
        {**row, "against": other, "other_seed": row["seed"], "value": row["seed"] + len(other)}
        for other in ("mp", "slt") for row in rows(cells=cells, places=[{}, *MATRICES])
    ]  # fmt: skip
    scene = Scene({**TECHNIQUES, "lr-rewind": "LR"}, PAGE)
    swept = sweep(own, over="masks")
    drawing = drawn(swept, scene)["m-techniques-by-sparsity"]
    assert list(drawn(swept, scene)) == ["m-techniques-by-sparsity"]
    assert {(r["part"], r["against"], float(r["mean"])) for r in values_in(drawing)} == {
        ("MP", "mp", 3.5), ("SLT t = 5%", "slt", 4.5),
    }  # fmt: skip
    (quantity,) = quantities(swept)
    assert [line[2] for line in layer_table(quantity, scene).rows] == ["MP", "SLT t = 5%"]


def test_roles_that_heads_keep_are_shares_of_those_that_had_them(undrawn):
    found = [
        {"measure": "role-changes", "technique": name, "sparsity": 0.5, "seed": 1,
         "part": "enc_self", "layer": 1, "head": head, "role": role,
         "statistic": statistic, "value": 1, "against": "dense", "other_seed": 1}
        for name, role, statistic, heads in (
            ("slt", "local", "kept", (1, 2, 3)), ("slt", "local", "lost", (4,)),
            ("slt", "local", "gained", (5,)), ("mp", "local", "lost", (1,)),
            ("mp", "diagonal", "gained", (2,)),
        )
        for head in heads
    ]  # fmt: skip
    found_figures = drawn(sweep(found, over="attention"))
    assert [*found_figures] == ["role-changes-dense-bars", "role-changes-kept-dense-by-sparsity"]
    drawing = found_figures["role-changes-kept-dense-by-sparsity"]
    assert [(r["part"], r["technique"], float(r["mean"])) for r in values_in(drawing)] == [
        ("local", "slt", 0.75), ("local", "mp", 0.0),
    ]  # fmt: skip


def test_values_are_means_and_deviations_over_seeds(undrawn):
    (drawing,) = drawn(sweep(rows(places=[{"part": "encoder", "layer": 1}]))).values()
    found = values_in(drawing)
    assert len(found) == 5  # dense, and two techniques at two sparsities
    for row in found:
        assert float(row["mean"]) == 0.375
        assert float(row["sd"]) == pytest.approx(math.sqrt(2) / 8)
        assert row["count"] == "2" and row["layer"] == "1"


def test_only_the_same_layers_are_lines(undrawn):
    swept = sweep(rows(cells=CELLS[2:], places=PAIRS, against="dense"))
    found = drawn(swept)
    lines = values_in(found["m-dense-by-sparsity"])
    assert {(row["layer"], row["other_layer"]) for row in lines} == {(n, n) for n in "123"}
    assert len(values_in(found["m-dense-layers"])) == 4 * 2 * 9


def test_captions_name_words_and_seeds(undrawn):
    for over, has_words in (("activations", True), ("attention", True), ("weights", False)):
        (drawing,) = drawn(sweep(rows(), over=over)).values()
        assert ("9 source words of valid" in drawing.caption) == has_words
        assert "seeds 1, 2" in drawing.caption and drawing.caption.startswith("Title of m")


def test_statistics_by_chance_are_lines_not_figures(undrawn, monkeypatch):
    seen = {}

    def kept(quantity, name, caption, scene, chance=None):
        seen[quantity.key[2]] = chance
        return Drawing(quantity.slug, caption, 1.0, {"csv": b""})

    monkeypatch.setattr(curve_figures, "draw_curves", kept)
    parts = [
        rows(statistic=name, value=lambda place, cell, v=v: v)
        for name, v in (
            ("jaccard", 0.5),
            ("jaccard-expected", 0.25),
            ("jaccard-deviation", 0.1),
            ("shared", 0.5),
        )
    ]
    drawn(sweep(*parts))
    assert set(seen) == {"jaccard", "shared"}
    assert seen["jaccard"] == {(None, None, 0.5): [0.25] * 4, (None, None, 0.9): [0.25] * 4}
    assert not seen["shared"]


def test_heads_are_placed_side_by_side():
    def number(place, cell):
        return 10 * place["layer"] + place["head"] + 100 * (place["part"] == "enc_dec")

    own = rows(cells=[("slt", 0.5, 1)], places=HEADS, value=number)
    places = head_places(own)
    assert places == {"enc_self": (0, 1), "dec_self": (3, 4), "enc_dec": (6, 7)}
    grid = head_grid(values_of(own, "part", "layer", "head"), ("slt", 0.5), places, own)
    assert [[-1 if math.isnan(v) else v for v in row] for row in grid] == [
        [11, 12, -1, 11, 12, -1, 111, 112], [21, 22, -1, 21, 22, -1, 121, 122],
    ]  # fmt: skip


def test_shares_of_heads_count_those_to_which_a_role_applies():
    dense = rows(cells=CELLS[:1], places=[{"role": "local", **place} for place in HEADS],
                 value=lambda p, c: int(p["head"] == 1))  # fmt: skip
    pruned = [{**row, "technique": "slt", "sparsity": 0.5} for row in dense if row["layer"] == 1]
    assert [(row["technique"], row["part"], row["value"]) for row in shares(dense + pruned)] == [
        ("dense", "local", 0.5), ("slt", "local", 0.25),
    ]  # fmt: skip


def test_heads_have_the_signs_of_their_roles(undrawn, monkeypatch):
    seen = []

    def kept(quantity, name, caption, scene, panels, *_, **__):
        seen.append((name, panels))
        return Drawing(name, caption, 1.0, {})

    monkeypatch.setattr(role_figures, "draw_panels", kept)
    # seed 2 has only the local role
    parts = [
        rows(statistic="has-role", cells=CELLS[:2],
             places=[{"role": role, **place} for place in HEADS[:4]],
             value=lambda place, cell, role=role: int(
                 place["head"] == 1 and (role == "local" or cell[2] == 1)))
        for role in ("local", "delimiter", "syntactic:obj")
    ]  # fmt: skip
    drawn(sweep(*parts))
    panels = dict(seen)["signs"]
    ((_, cells),) = panels.cells
    assert panels.texts == [[["LE", ""], ["LE", ""]]]
    assert cells == [[1.5, 0.0], [1.5, 0.0]]


def test_a_report_has_the_figures_that_measures_ask_for(undrawn):
    parts = [rows(name, places=LAYERS, statistic=statistic)
             for name in ("all", "one", "none") for statistic in ("a", "b")]  # fmt: skip
    swept = sweep(*parts)
    shown = {"all": (), "one": ("b",), "none": None}
    measures = {n: replace(swept.measures[n], in_report=own) for n, own in shown.items()}
    swept = replace(swept, measures=measures)
    assert set(drawn(swept, replace(SCENE, is_report=True))) == {
        "all-a-by-sparsity", "all-b-by-sparsity", "one-b-by-sparsity",
    }  # fmt: skip
    assert len(drawn(swept)) == 6


def test_pages_of_a_report_need_svg_only():
    swept = sweep(rows(places=LAYERS[:1]))
    (whole,) = drawn(swept).values()
    (page,) = drawn(swept, replace(SCENE, is_report=True)).values()
    assert set(whole.files) == {"pdf", "svg", "png", "csv"}
    assert set(page.files) == {"svg", "csv"}
    assert page.files["svg"] == whole.files["svg"] and page.files["csv"] == whole.files["csv"]


@pytest.mark.parametrize("relation, names", [
    ("dense", ("layer of the dense model", "layer of the sparse model")),
    ("mp", ("layer of the mp model", "layer of the model in the title")),
    (None, ("layer of the second model", "layer of the first model")),
])  # fmt: skip
def test_maps_of_layers_name_their_axes(undrawn, monkeypatch, relation, names):
    seen = []
    monkeypatch.setattr(heat_map_figures, "draw_panels", lambda *values: seen.append(values[4])
                        or Drawing("", "", 1, {}))  # fmt: skip
    against = {} if relation is None else {"against": relation}
    drawn(sweep(rows(cells=CELLS[2:4], places=PAIRS, **against)))
    assert [panels.names for panels in seen] == [names]


def test_roles_that_no_head_has_are_named_and_not_drawn(undrawn):
    parts = [
        rows(statistic="has-role", places=[{"role": role, **place} for place in HEADS],
             value=lambda place, cell, own=own: own)
        for role, own in (("local", 1), ("block", 0))
    ]  # fmt: skip
    found = drawn(sweep(*parts))
    lines = values_in(found["m-roles-by-sparsity"])
    assert {row["part"] for row in lines} == {"local"}
    assert found["m-roles-by-sparsity"].caption.endswith("No head of any model has: block.")
    assert not drawn(sweep(parts[1]))


def test_probes_are_relative_to_the_dense_model_of_the_same_seed():
    place = {"task": "pos", "part": "encoder", "statistic": "accuracy"}
    values = {
        ("dense", 1, 1): 0.5, ("dense", 1, 2): 0.8, ("dense", 2, 1): 0.25,
        ("slt", 1, 1): 0.6, ("slt", 1, 2): 0.6, ("slt", 2, 1): 0.25, ("slt", 3, 1): 1.0,
    }  # fmt: skip
    found = relative_rows([
        {"technique": name, "sparsity": 0.5 * (name == "slt"), "seed": seed, "layer": layer,
         "value": value, **place} for (name, seed, layer), value in values.items()
    ] + [{**place, "technique": "slt", "sparsity": 0.5, "seed": 1, "value": 0.1}])  # fmt: skip
    assert [(row["part"], row["seed"]) for row in found] == [("pos", 1), ("pos", 2)]
    assert [row["value"] for row in found] == pytest.approx([(20 - 25) / 2, 0.0])


def test_layers_without_a_positive_score_of_the_dense_model_are_left_out():
    """A percentage of a negative score would change its sign."""
    place = {"task": "score", "part": "encoder", "statistic": "pearson", "seed": 1}
    found = relative_rows([
        {"technique": name, "sparsity": 0.5 * (name == "slt"), "layer": layer, "value": value,
         **place}
        for name, layer, value in (
            ("dense", 1, -0.1), ("dense", 2, 0.4), ("dense", 3, 0.0),
            ("slt", 1, 0.1), ("slt", 2, 0.2), ("slt", 3, 0.2),
        )
    ])  # fmt: skip
    assert [row["value"] for row in found] == pytest.approx([-50.0])


def test_the_table_of_layers_has_means_of_the_same_layers():
    (quantity,) = quantities(sweep(rows(cells=CELLS[2:], places=PAIRS, against="dense")))
    table = layer_table(quantity, SCENE)
    assert table.header == ["technique", "sparsity, %", "part", "1", "2", "3"]
    assert len(table.rows) == 2 * 4
    assert table.rows[0] == ["SLT t = 5%", "50", "encoder", *["37.5 ± 17.7"] * 3]
    deviation = pytest.approx(0.17678, abs=1e-4)
    assert table.data[1][0][:6] == ["slt", 0.5, "encoder", 0.375, deviation, 2]


def test_a_single_model_needs_no_technique(undrawn, monkeypatch):
    from fairseq_lottery.analysis import registry

    made = registry.Measure("m", "toy", "weights", 1, "title", (0.0, None), lambda: [])
    monkeypatch.setattr(registry, "_import_measures", lambda: None)
    monkeypatch.setattr(registry, "_registry", {"m": made})
    own = [{"measure": "m", **place, "value": 0.5} for place in (*LAYERS, *HEADS, *COMPONENTS)]
    other = [{"measure": "unregistered", **place, "value": 0.5} for place in PAIRS]
    assert [drawing.slug for drawing in plot(own + other)] == [
        "m-by-layer", "m-heads", "m-components-encoder", "m-components-decoder",
        "unregistered-layers",
    ]  # fmt: skip


def test_sparsities_are_left_out_of_large_figures():
    models = [("dense", 0.0)] + [(t, s / 10) for s in range(1, 10) for t in "abcd"]
    shown, note = shown_models(models)
    assert {s for _, s in shown} == {0.0, 0.1, 0.5, 0.9} and note
    assert len(shown) == 1 + 3 * 4
    assert shown_models(models[:9]) == (models[:9], "")
    assert {s for _, s in shown_models(models, 3)[0]} == {0.0, 0.9}


@pytest.mark.parametrize("name, place", [
    ("encoder.layers.0.self_attn.v_proj.weight", ("enc", 1, "self v")),
    ("decoder.layers.11.encoder_attn.out_proj.weight", ("dec", 12, "cross out")),
    ("decoder.layers.2.fc2.weight", ("dec", 3, "fc2")),
    ("encoder.embed_tokens.weight", None), ("encoder.layers.0.fc1.bias", None), ("", None),
])  # fmt: skip
def test_the_place_of_a_matrix(name, place):
    assert matrix_place(name) == place


@pytest.mark.parametrize("values, is_share, ends", [
    ([0.21, 0.93], True, (0.2, 1.0)), ([0.0, 0.004], True, (0.0, 0.1)), ([1.0], True, (0.9, 1.0)),
    ([-0.4, 0.93], False, (-0.4, 1.0)), ([43.0, 57.5], False, (43.0, 58.0)),
    ([0.0], False, (0, 1e-9)),
])  # fmt: skip
def test_the_scale_has_round_ends(values, is_share, ends):
    low, high = scale(values, is_share)
    assert low <= min(values) and high >= max(values) and high > low
    assert (low, high) == pytest.approx(ends, abs=0.11)


@pytest.mark.parametrize("values, wide", [
    ([0.01, 0.5], True), ([0.2, 0.5], False), ([0.0, 0.1, 0.6], False),
    ([0.0] + [0.1, 0.6] * 5, True), ([0.0, 0.0], False),
])  # fmt: skip
def test_densities_that_differ_much_have_a_logarithmic_scale(values, wide):
    assert heat_map_figures.is_wide(values) == wide


@pytest.mark.parametrize("value, text", [
    (0.9349, ".93"), (-0.1, "-.10"), (0.7, ".70"), (0.001, "0"), (0.996, "1.0"), (2.44, "2.4"),
    (53.1, "53"), (-12.5, "-12"),
])  # fmt: skip
def test_numbers_fit_cells(value, text):
    assert value_text(value) == text


def test_titles_are_wrapped_at_spaces_only():
    assert wrapped("learning-rate rewinding t = 5%", 14).split("\n") == [
        "learning-rate", "rewinding", "t\u00a0=\u00a05%",
    ]  # fmt: skip


def test_figures_are_written_in_all_formats(tmp_path):
    swept = sweep(rows(places=[*HEADS[:4]]), rows("n", places=LAYERS[:2]))
    names = write_figures(swept, tmp_path / "figures", size("8cm", 8), TECHNIQUES)
    assert names == ["m-heads", "n-by-sparsity"]
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert files == {f"{n}.{e}" for n in names for e in ("pdf", "svg", "png", "csv")}
    width, _ = Image.open(tmp_path / "figures/m-heads.png").size
    assert width == pytest.approx(8 / 2.54 * 300, abs=2)


def test_unused_panels_of_maps_are_empty():
    assert heat_map_figures._numbers(3) == {0: "1", 1: "2", 2: "3"}
    assert list(heat_map_figures._numbers(50))[:3] == [0, 3, 6]
