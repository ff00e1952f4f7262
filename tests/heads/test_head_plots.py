"""Heads in a report: importance, survival, agreement between seeds, and what is missing."""

import builtins
import io
import json
import math

import pytest
from report.made import ANATOMY, Made, score_record

pytest.importorskip("matplotlib")
torch = pytest.importorskip("torch")
from PIL import Image  # noqa: E402

from fairseq_lottery.errors import LotteryError  # noqa: E402
from fairseq_lottery.heads.components.anatomy import Anatomy  # noqa: E402
from fairseq_lottery.heads.components.component_mask import ComponentMask  # noqa: E402
from fairseq_lottery.heads.report import head_plots  # noqa: E402
from fairseq_lottery.heads.report.choices_read import read_choices  # noqa: E402
from fairseq_lottery.heads.report.head_plots import (  # noqa: E402
    canvas,
    importance_grid,
    kept,
    relative,
    survival_grid,
)
from fairseq_lottery.heads.report.head_sections import agreement_table, section  # noqa: E402
from fairseq_lottery.report import gather, read_run, size, write_report  # noqa: E402

ENC = "encoder.layers.0.self_attn"
PAGE = size("8cm", 8)
ROWS = {"heads-lowest": "heads", "heads-random": "heads", "blocks-lowest": "blocks"}


def made_of(folder, techniques=("heads-lowest",), shares=(0.25, 0.5), seeds=(1, 2), score=True):
    made = Made(folder, techniques, shares, seeds, rows=ROWS)
    if score:
        made.records.append(score_record(technique="dense", sparsity=0.0))
    return made


def read(made):
    (group,) = gather([read_run(made.write())])
    return group, read_choices(group)


def pruning(*numbers, module=ENC):
    return ComponentMask(ANATOMY, {"heads": {module: list(numbers)}})


def test_components_and_importance_are_read(tmp_path):
    group, choices = read(made_of(tmp_path / "a").choices().importance(("l1", "confidence")))
    assert choices.anatomy == ANATOMY
    assert sorted(choices.masks) == [("heads-lowest", s, n) for s in (0.25, 0.5) for n in (1, 2)]
    assert [
        components.count_pruned("heads") for components in choices.of("heads-lowest", 0.25)
    ] == [6, 6]
    assert choices.shares_of("heads-lowest") == [0.25, 0.5]
    assert {name: sorted(seeds) for name, seeds in choices.importance.items()} == {
        "confidence": [1, 2], "l1": [1, 2],
    }  # fmt: skip


def test_each_head_has_its_place():
    anatomy = Anatomy(
        {
            "encoder.layers.0.self_attn": 2, "encoder.layers.1.self_attn": 1,
            "decoder.layers.0.self_attn": 2, "decoder.layers.0.encoder_attn": 1,
        },
        {},
    )  # fmt: skip
    values = {name: [10 * n + h for h in range(anatomy.heads[name])]
              for n, name in enumerate(anatomy.heads)}  # fmt: skip
    first, second = canvas(anatomy, values)
    assert [-1 if math.isnan(v) else v for v in first] == [0, 1, -1, 20, 21, -1, 30]
    assert [-1 if math.isnan(v) else v for v in second] == [10, -1, -1, -1, -1, -1, -1]


def test_importance_is_the_mean_over_seeds_as_a_share_of_the_largest():
    one = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([0.0])}
    two = {"a": torch.tensor([3.0, 5.0]), "b": torch.tensor([-2.0])}
    assert relative([one, two]) == {"a": [0.5, 1.0], "b": [-0.25]}
    assert relative([{"a": torch.zeros(2)}]) == {"a": [0.0, 0.0]}


def test_survival_is_the_share_of_seeds():
    found = kept([pruning(0, 1), pruning(1, 2), pruning(1)])
    assert found[ENC] == pytest.approx([2 / 3, 0, 2 / 3, 1]) and set(found) == set(ANATOMY.heads)


def test_the_plots_say_what_they_show(tmp_path):
    made = made_of(tmp_path / "a", ("heads-lowest", "heads-random"), (0.1, 0.4, 0.6), (1, 2, 3))
    group, choices = read(made.choices().importance())
    survival = survival_grid(group, choices, PAGE)
    importance = importance_grid(group, choices, PAGE)
    assert survival.slug == "survival" and importance.slug == "importance"
    assert survival.caption.startswith(
        "Heads that are kept, a panel per technique, at the one of its shares of heads pruned that"
        " is nearest to 50 %: the share of 3 seeds that keep each; a row per layer"
    )
    assert "a panel per measure, the mean over 3 seeds, in percent of the" in importance.caption
    for drawing in (survival, importance):
        pixels = Image.open(io.BytesIO(drawing.files["png"])).size
        assert pixels[0] == pytest.approx(300 * 8 / 2.54, abs=1) and pixels[1] < 300 * 12
        assert set(drawing.files) == {"pdf", "svg", "png"}


def test_many_techniques_fit_a_page(tmp_path):
    for page, count in ((PAGE, 20), (size("16cm", 9), 6)):  # on a narrow one they are higher
        names = [f"heads-a-long-name-{n}" for n in range(count)]
        made = Made(tmp_path / f"{count}", names, (0.5,), rows=dict.fromkeys(names, "heads"))
        drawing = survival_grid(*read(made.choices()), page)
        width, height = Image.open(io.BytesIO(drawing.files["png"])).size
        assert width == pytest.approx(300 * page.width, abs=1) and height < 300 * 12


def test_the_same_choices_have_one_panel(tmp_path):
    drawings = []
    for last in (2, 3):
        made = made_of(tmp_path / str(last), ("heads-lowest", "heads-random"), (0.5,))
        for technique, head in (("heads-lowest", 2), ("heads-random", last)):
            made.choice(pruning(1), made.training(technique, 0.5, 1))
            made.choice(pruning(head), made.training(technique, 0.5, 2))
        drawings.append(survival_grid(*read(made), PAGE))
    twins, apart = drawings
    said = " The same heads are shown once: lowest heads stands for random heads."
    assert twins.caption.endswith(f"attention to the encoder (enc-dec).{said}")
    assert apart.caption.endswith("attention to the encoder (enc-dec).")
    one, two = (Image.open(io.BytesIO(each.files["png"])).height for each in drawings)
    assert two > 1.3 * one


def test_panels_of_different_seeds_say_so(tmp_path):
    made = made_of(tmp_path / "a", ("heads-lowest", "heads-random"), (0.5,))
    for technique, seed in (("heads-lowest", 1), ("heads-lowest", 2), ("heads-random", 1)):
        made.choice(pruning(0), made.training(technique, 0.5, seed))
    group, choices = read(made)
    assert "the share of its n seeds that keep each" in survival_grid(group, choices, PAGE).caption


@pytest.mark.parametrize(
    ("missing", "mean", "counts"),
    [
        ([], "a panel per measure, the mean over 2 seeds, in percent", ["l1", "confidence"]),
        ([("l1", 2)], "a panel per measure, the mean over its n seeds, in percent",
         ["l1 (n=1)", "confidence (n=2)"]),
        ([("l1", 2), ("confidence", 1)], "a panel per measure, one seed, in percent",
         ["l1", "confidence"]),
    ],
)  # fmt: skip
def test_a_measure_of_fewer_seeds_says_so(tmp_path, monkeypatch, missing, mean, counts):
    made = made_of(tmp_path / "a").importance(("l1", "confidence"))
    made.records = [r for r in made.records if (r.get("measure"), r["seed"]) not in missing]
    titles = []
    monkeypatch.setattr(
        head_plots, "heat_maps", lambda panels, *rest, **more: titles.extend(t for t, _ in panels)
    )
    monkeypatch.setattr(head_plots, "draw", lambda _, caption, page, paint: paint(page) or caption)
    assert mean in importance_grid(*read(made), PAGE)
    assert sorted(titles) == sorted(counts)


def test_agreement_by_hand(tmp_path):
    """Two seeds prune heads 0 and 1, and 1 and 2, of 24."""
    pytest.importorskip("statsmodels")
    made = made_of(tmp_path / "a", shares=(0.0833,))
    for seed, components in enumerate((pruning(0, 1), pruning(1, 2)), 1):
        made.choice(components, made.training("heads-lowest", 0.0833, seed))
    table = agreement_table(*read(made))
    # 22 of 24 heads agree; by chance (11/12)^2 + (1/12)^2; kappa (P - C) / (1 - C)
    chance = (11 / 12) ** 2 + (1 / 12) ** 2
    kappa = (22 / 24 - chance) / (1 - chance)
    header, (row,) = table.data
    assert header == [
        *("technique", "heads pruned", "seeds", "kept", "kappa", "Jaccard", "by chance", "p")
    ]
    assert row[:4] == ["heads-lowest", 0.0833, 2, 22]
    assert row[4] == pytest.approx(kappa) and row[5] == pytest.approx(21 / 23)
    # by chance both prune the same 2, 1 or 0 heads, which leaves 22 of 22, 21 of 23 or 20 of 24
    ways = {2: 1, 1: 2 * 22, 0: 22 * 21 / 2}
    expected = sum(n * (20 + k) / (24 - k) for k, n in ways.items()) / (24 * 23 / 2)
    assert row[6] == pytest.approx(expected, abs=0.005)
    assert row[7] == pytest.approx((1 + 44) / (24 * 23 / 2), abs=0.04)
    assert table.rows[0][:6] == ["lowest heads", "8.33", "2", "22", f"{kappa:.2f}", "0.91"]
    assert table.notes[0].startswith("Kept: number of heads, of 24, the mean over seeds.")
    assert (
        "number n of one seed's heads does not correspond to number n of another's"
        in table.notes[2]
    )


def test_agreement_of_what_is_all_open_has_no_kappa(tmp_path):
    pytest.importorskip("statsmodels")
    made = made_of(tmp_path / "a", shares=(0.01,))
    for seed in (1, 2):
        made.choice(ComponentMask(ANATOMY, {}), made.training("heads-lowest", 0.01, seed))
    table = agreement_table(*read(made))
    assert table.rows[0][2:] == ["2", "24", "–", "1.00", "1.00", "1.000"]
    assert table.data[1][0][4] is None


def test_blocks_agree_on_blocks(tmp_path):
    pytest.importorskip("statsmodels")
    table = agreement_table(*read(made_of(tmp_path / "a", ("blocks-lowest",), (0.5,)).choices()))
    assert table.caption == "How far the seeds of a technique keep the same FFN blocks."
    assert table.header[1] == "FFN blocks pruned, %" and table.rows[0][1:4] == ["50", "2", "2"]
    assert "number of FFN blocks, of 4" in table.notes[0] and len(table.notes) == 2


def said(made):
    group, _ = read(made)
    return [getattr(block, "text", getattr(block, "slug", None)) for block in section(group, PAGE)]


def test_what_is_missing_is_said(tmp_path):
    assert said(made_of(tmp_path / "a")) == [
        "Heads and units",
        "There is no choice of heads or units, so survival is left out.",
    ]
    made = made_of(tmp_path / "b").choices().importance(("l1",))
    for path in (tmp_path / "b").rglob("*.json"):
        path.unlink()
    assert said(made)[1:] == [
        "The importance of heads is left out: no scores of heads are in the run's folder.",
        "There is no choice of heads or units, so survival is left out.",
        "4 recorded choices are not in the run's folder.",
        "2 recorded files of scores are not in the run's folder.",
    ]
    assert said(made_of(tmp_path / "c", seeds=(1,)).choices())[1:] == [
        "survival",
        "Agreement between seeds is left out: no technique has two seeds at one share.",
    ]


def test_without_statsmodels_agreement_is_left_out(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "statsmodels":
            raise ModuleNotFoundError(f"No module named {name!r}", name="statsmodels")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert said(made_of(tmp_path / "a").choices())[-1] == (
        "Agreement between seeds is left out: statsmodels is not installed; run"
        ' `pip install ".[analysis]"`.'
    )


@pytest.mark.parametrize("name", ["parts.json", "l1.json"])
def test_a_damaged_file_is_refused_and_nothing_is_written(tmp_path, name):
    made = made_of(tmp_path / "a").choices().importance(("l1",))
    next((tmp_path / "a").rglob(name)).write_text("{}")
    made.write()
    with pytest.raises(LotteryError, match=name):
        write_report([tmp_path / "a"], tmp_path / "out", PAGE)
    assert not (tmp_path / "out").exists()


def test_models_with_different_heads_are_not_put_together(tmp_path):
    made = made_of(tmp_path / "a").choices()
    other = Anatomy(dict.fromkeys(ANATOMY.heads, 8), ANATOMY.units)
    group, _ = read(made)
    with pytest.raises(LotteryError) as caught:
        read(made.importance(("l1",), other))
    assert str(caught.value) == (
        f"the components of heads-lowest at 0.25, seed 1 and the scores in {tmp_path}/a/seed1/"
        "dense-0/l1.json are for models with different heads or units; report them separately"
    )
    assert group.choices


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        *((h, "are for a model without heads, or with more than 65536")
          for h in ({}, {ENC: 1 << 20}, {"encoder.layers.99999.self_attn": 4})),
        *((h, "is malformed: heads and units must map")
          for h in ({ENC: 0}, {ENC: -1}, {ENC: "4"}, {ENC: 1 << 40})),
    ],
)  # fmt: skip
def test_heads_that_no_model_has_are_refused(tmp_path, heads, said):
    made = made_of(tmp_path / "a").importance(("l1",))
    path = tmp_path / "a" / "seed1" / "dense-0" / "l1.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "heads": heads, "scores": {}}))
    with pytest.raises(LotteryError, match=f"l1.json {said}"):
        read(made)
