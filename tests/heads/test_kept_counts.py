"""Choices with a number of kept heads for each layer and type."""

import json

import pytest
import torch

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.kept_counts import keep_counts, read_counts
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.score_table import save_scores

LAYERS = 12  # two digits, so that the order of layers is not that of their names
HEADS = {
    **{f"encoder.layers.{n}.self_attn": 4 for n in range(LAYERS)},
    **{f"decoder.layers.{n}.{kind}_attn": 4 for n in range(2) for kind in ("self", "encoder")},
}
ANATOMY = Anatomy(HEADS, {"encoder.layers.0": 3})
WHOLE = ComponentMask(ANATOMY, {})


def scores(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {"heads": {n: torch.rand(4, generator=generator).double() for n in ANATOMY.heads},
            "units": {"encoder.layers.0": torch.tensor([3.0, 1.0, 2.0])}}  # fmt: skip


def kept(components, name):
    return set(torch.nonzero(components["heads"][name])[:, 0].tolist())


def test_every_layer_keeps_its_best():
    numbers = (1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2)
    table = scores()
    found = keep_counts(
        StrategyInput(WHOLE, scores=table), {"enc_self": numbers, "enc_dec": (2, 0)}
    )
    for layer, number in enumerate(numbers):
        name = f"encoder.layers.{layer}.self_attn"
        values = table["heads"][name].tolist()
        assert kept(found, name) == set(sorted(range(4), key=lambda h: values[h])[4 - number :])
    assert len(kept(found, "decoder.layers.0.encoder_attn")) == 2
    assert kept(found, "decoder.layers.1.encoder_attn") == set()
    assert all(kept(found, f"decoder.layers.{n}.self_attn") == {0, 1, 2, 3} for n in (0, 1))


def test_highest_and_random():
    inputs = StrategyInput(WHOLE, scores=scores())
    low, high = (
        keep_counts(inputs, {"dec_self": (2, 2)}, name) for name in ("lowest", "highest")
    )
    for name in ("decoder.layers.0.self_attn", "decoder.layers.1.self_attn"):
        assert kept(low, name) | kept(high, name) == {0, 1, 2, 3}
    without = StrategyInput(WHOLE)
    names = [f"decoder.layers.{n}.self_attn" for n in (0, 1)]
    drawn = []
    for seed in (1, *range(1, 200)):
        found = keep_counts(StrategyInput(WHOLE, seed=seed), {"dec_self": (2, 1)}, "random")
        drawn.append(tuple(tuple(sorted(kept(found, name))) for name in names))
    assert drawn[0] == drawn[1] and {tuple(map(len, one)) for one in drawn} == {(2, 1)}
    assert len(set(drawn)) == 6 * 4, "every set is drawn with some seed"
    with pytest.raises(LotteryError, match="scores of heads are required to rank them"):
        keep_counts(without, {"dec_self": (2, 1)})


def test_units_and_an_earlier_choice():
    found = keep_counts(StrategyInput(WHOLE, "units", scores=scores()), {"enc_ffn": (1,)})
    assert found["units"]["encoder.layers.0"].tolist() == [True, False, False]
    name = "decoder.layers.0.self_attn"
    start = ComponentMask(ANATOMY, {"heads": {name: [0, 1, 2]}})
    inputs = StrategyInput(start, scores=scores())
    assert kept(keep_counts(inputs, {"dec_self": (1, 4)}), name) == {3}
    with pytest.raises(LotteryError, match="layer 1 of dec_self has 1 heads left, so 2 cannot"):
        keep_counts(inputs, {"dec_self": (2, 4)})


def test_texts():
    assert read_counts(["enc_self=1,0,12", "dec_self=3"]) == {
        "enc_self": (1, 0, 12), "dec_self": (3,)
    }  # fmt: skip
    for text in ("enc_self", "enc_self=", "=1", "enc_self=1,", "enc_self=-1", "enc_self=1;2",
                 "enc_self=1.5", "enc_self=99999999"):  # fmt: skip
        with pytest.raises(LotteryError, match="is malformed; give the type and a number for each"):
            read_counts([text])
    with pytest.raises(LotteryError, match="--keep has enc_self twice"):
        read_counts(["enc_self=1", "enc_self=1"])


@pytest.mark.parametrize(("counts", "strategy", "message"), [
    ({"dec_self": (1,)}, "lowest", "dec_self has 2 layers, but 1 numbers of heads to keep"),
    ({"dec_self": (1, 5)}, "lowest", "layer 2 of dec_self has 4 heads left, so 5 cannot be kept"),
    ({"enc_ffn": (1,)}, "lowest", "the model has no heads of type 'enc_ffn'"),
    ({"dec_self": (1, 1)}, "top", "the strategy top does not order the components of a layer"),
])  # fmt: skip
def test_refusals_are_one_sentence(counts, strategy, message):
    with pytest.raises(LotteryError, match=message):
        keep_counts(StrategyInput(WHOLE, scores=scores()), counts, strategy)


def test_the_command(tmp_path, capsys):
    table, out = tmp_path / "scores.json", tmp_path / "choice.json"
    save_scores(table, ANATOMY, scores(), {})
    words = ["heads", "choose", "--scores", str(table), "--keep", "dec_self=1,2", "enc_dec=3,4"]
    assert main([*words, "--out", str(out)]) == 0
    assert "6 of 64 heads" in capsys.readouterr().out
    components, record = load_choice(out)
    assert record["keep"] == ["dec_self=1,2", "enc_dec=3,4"]
    assert components == keep_counts(
        StrategyInput(WHOLE, scores=scores()), {"dec_self": (1, 2), "enc_dec": (3, 4)}
    )
    for flags in (["--share", "0.5"], ["--count", "3"], ["--types", "enc_dec"],
                  ["--at-least", "1"]):  # fmt: skip
        assert main([*words, *flags, "--out", str(tmp_path / "no.json")]) == 2
        assert f"--keep excludes {flags[0]}; leave" in capsys.readouterr().err
    assert not (tmp_path / "no.json").exists()


def test_choices_are_combined_by_the_command(tmp_path, capsys):
    from fairseq_lottery.heads.components.choice_file import save_choice

    name, paths = "decoder.layers.0.self_attn", []
    for seed, pruned in enumerate(([0, 1], [1, 2]), 1):
        paths.append(tmp_path / f"{seed}.json")
        save_choice(paths[-1], ComponentMask(ANATOMY, {"heads": {name: pruned}}), {"seed": seed})
    words = ["heads", "combine", *map(str, paths), "--out", str(tmp_path / "out.json")]
    assert main([*words, "--survivors", "super"]) == 0
    assert "3 of 64 heads" in capsys.readouterr().out
    components, record = load_choice(tmp_path / "out.json")
    assert list(components.pruned("heads")) == [(name, 0), (name, 1), (name, 2)]
    assert record["digests"] == [load_choice(path)[0].digest() for path in paths]
    assert (record["survivors"], record["files"]) == ("super", list(map(str, paths)))
    assert main([*words, "--survivors", "average", "--count", "1", "--overwrite"]) == 0
    assert list(load_choice(tmp_path / "out.json")[0].pruned("heads")) == [(name, 1)]
    assert main([*words, "--survivors", "super", "--share", "0.5", "--overwrite"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert json.loads((tmp_path / "out.json").read_text())["closed"].keys() == set(KINDS)
    paths[1].write_text("")
    assert main([*words, "--survivors", "super", "--overwrite"]) == 2
    assert capsys.readouterr().err == f"fairseq-lottery: {paths[1]} cannot be read: it is empty\n"
