"""Figures of counts, changes and survivors: which bars and cells have which values."""

import pytest

pytest.importorskip("matplotlib")

from fairseq_lottery.analysis.report.figure_files import plot
from fairseq_lottery.analysis.report.figures import heat_map_figures, quantity_figure, role_bars
from fairseq_lottery.report.plots.drawings import Drawing


@pytest.fixture
def painted(monkeypatch):
    """What was painted: the bars of each figure, and the panels of maps."""
    calls = []
    monkeypatch.setattr(quantity_figure, "draw", lambda name, caption, page, paint, formats: (
        paint(page), Drawing(name, caption, page.width, {}))[1])  # fmt: skip
    monkeypatch.setattr(role_bars, "_paint", lambda bars, *_: calls.append(bars))
    monkeypatch.setattr(heat_map_figures, "heat_maps", lambda panels, columns, rows, *_, **more:
                        calls.append((panels, columns, rows, more["names"])))  # fmt: skip
    return calls


def changes(**columns):
    """Local: 2 kept, 1 lost, 1 gained in the encoder, 1 lost in the decoder."""
    heads = [("enc_self", 1, "kept"), ("enc_self", 2, "kept"), ("enc_self", 3, "lost"),
             ("enc_self", 4, "gained"), ("dec_self", 1, "lost")]  # fmt: skip
    return [
        {"measure": "role-changes", "part": part, "layer": 1, "head": head, "role": "local",
         "statistic": statistic, "value": 1, **columns}
        for part, head, statistic in heads
    ]  # fmt: skip


def test_changes_of_one_model_have_a_panel_per_kind(painted):
    (drawing,) = plot(changes())
    assert drawing.slug == "role-changes-bars"
    assert painted == [
        {"enc-self": {"local": {"kept": 2, "lost": 1, "gained": 1}},
         "dec-self": {"local": {"lost": 1}}},
    ]  # fmt: skip


def test_changes_of_a_sweep_have_a_panel_per_role_and_the_mean_over_seeds(painted):
    place = {"technique": "slt", "against": "dense"}
    rows = [
        *changes(**place, sparsity=0.5, seed=1, other_seed=1),
        *changes(**place, sparsity=0.9, seed=1, other_seed=1)[2:],
        *changes(**place, sparsity=0.9, seed=2, other_seed=2),
    ]
    assert plot(rows)[0].slug == "role-changes-dense-bars"
    assert painted[0] == {
        "local": {"slt, 50 %": {"kept": 2, "lost": 2, "gained": 1},
                  "slt, 90 %": {"kept": 1, "lost": 2, "gained": 1}},
    }  # fmt: skip


def test_survivors_stand_beside_all_heads(painted):
    row = {"measure": "role-survivors", "role": "local"}
    rows = [
        {**row, "part": part, "statistic": statistic, "value": value}
        for part, values in (("enc_self", (0.5, 0.75, 0.01)), ("enc_dec", (0.0, 0.0, 1.0)))
        for statistic, value in zip(("all-heads", "survivors", "p"), values)
    ]
    rows += [{**one, "role": "block", "value": 0.0} for one in rows]
    assert [one.slug for one in plot(rows)] == ["role-survivors-bars"]
    assert painted == [
        {"enc-self": {"local": {"all-heads": 0.5, "survivors": 0.75, "p": 0.01}},
         "enc-dec": {"local": {"all-heads": 0.0, "survivors": 0.0, "p": 1.0}}},
    ]  # fmt: skip
    painted.clear()
    sweep = [{**one, "technique": "mp", "sparsity": 0.5, "seed": 1} for one in rows]
    plot(sweep)
    assert [*painted[0]] == ["local, enc-self", "local, enc-dec"]


def test_counts_are_a_map_of_roles_and_layers(painted):
    rows = [
        {"measure": "role-counts", "role": role, "part": part, "layer": layer,
         "statistic": "heads", "value": count}
        for role, part, counts in (
            ("local", "enc_self", (3, 1)), ("local", "dec_self", (0, 2)),
            ("alignment", "enc_dec", (4, 4)), ("block", "enc_self", (0, 0)),
        )
        for layer, count in enumerate(counts, 1)
    ]  # fmt: skip
    rows += [{"measure": "role-counts", "part": "enc_self", "statistic": "several-roles",
              "value": 2}]  # fmt: skip
    assert "role-counts-by-layer" in [one.slug for one in plot(rows)]
    ((panels, columns, names, axes),) = painted
    ((title, cells),) = panels
    assert (title, names) == ("", {0: "local", 1: "alignment"})
    assert [[None if v != v else v for v in row] for row in cells] == [
        [3, 1, None, 0, 2, None, None, None], [None] * 6 + [4, 4],
    ]  # fmt: skip
    assert columns == {0.5: "enc-self", 3.5: "dec-self", 6.5: "enc-dec"}
    assert axes == ("layers of each kind of attention", "role")


def test_bars_are_painted_in_every_format():
    drawings = plot([
        *changes(),
        *({"measure": "role-survivors", "role": "local", "part": "enc_self", "statistic": name,
           "value": value} for name, value in (("all-heads", 0.5), ("survivors", 1), ("p", 0.04))),
    ])  # fmt: skip
    assert [{*one.files} for one in drawings] == [{"pdf", "svg", "png", "csv"}] * 2
