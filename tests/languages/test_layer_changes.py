"""Change of groups of layers by fine-tuning, and its correlation with drops."""

import csv
import json

import numpy as np
import pytest
import torch
from analysis.written_recordings import write_activations
from scipy.stats import spearmanr
from small import DIM, FFN, save_checkpoint, weights

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.languages.layer_changes import add_cka, drop_correlations, layer_changes

LAYERS = 6


def models():
    """A model before and after; layer n of both stacks moves by n / 10 times random numbers."""
    before = weights(1, layers=LAYERS)
    noise = weights(2, layers=LAYERS)
    after = {}
    for name, tensor in before.items():
        layer = int(name.split(".layers.")[1].split(".")[0]) if ".layers." in name else 0
        after[name] = tensor + layer / 10 * noise[name]
    return before, after


def row_of(rows, group, kind):
    (row,) = (row for row in rows if (row["group"], row["kind"]) == (group, kind))
    return row


@pytest.mark.parametrize("group, kind, layers, inside", [
    ("bottom", "enc_self", (0, 1), "encoder.layers.{}.self_attn."),
    ("top", "enc_dec", (4, 5), "decoder.layers.{}.encoder_attn."),
    ("middle", "dec_ffn", (2, 3), "decoder.layers.{}.fc"),
    ("top", "all", (4, 5), ".layers.{}."),
])  # fmt: skip
def test_distance_and_cosine_are_those_of_all_parameters_together(group, kind, layers, inside):
    before, after = models()
    inner = [n for n in before if any(inside.format(layer) in n for layer in layers)]
    names = [n for n in inner if "layer_norm" not in n]
    a, b = (np.concatenate([m[n].numpy().ravel() for n in names]) for m in (before, after))
    row = row_of(layer_changes(before, after, "thirds"), group, kind)
    assert row["weights"] == len(a)
    assert row["relative_distance"] == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a))
    assert row["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_groups_and_kinds_of_a_translation_model():
    before, after = models()
    rows = layer_changes(before, after, "each")
    kinds = ["enc_self", "dec_self", "enc_dec", "enc_ffn", "dec_ffn", "all"]
    assert [(r["kind"], r["group"]) for r in rows] == [
        (kind, f"layer {n + 1}") for kind in kinds for n in range(LAYERS)
    ]
    assert row_of(rows, "layer 1", "all")["relative_distance"] == 0
    assert row_of(rows, "layer 1", "all")["cosine"] == pytest.approx(1)
    assert row_of(rows, "layer 2", "enc_self")["weights"] == 4 * (DIM * DIM + DIM)
    assert (
        row_of(rows, "layer 2", "enc_ffn")["weights"] == 2 * DIM * FFN + FFN
    )  # fc2 of small has no bias


def test_other_layers_are_refused():
    before, after = models()
    with pytest.raises(LotteryError, match="only one of them has decoder.layers.0.encoder_attn"):
        layer_changes(
            before, {n: w for n, w in after.items() if not n.startswith("decoder")}, "each"
        )
    with pytest.raises(LotteryError, match="they have no layers"):
        layer_changes({}, {}, "each")
    name = "encoder.layers.0.fc1.weight"
    with pytest.raises(LotteryError, match=f"{name}: weights of shape"):
        layer_changes(before, {**after, name: torch.zeros(2, 2)}, "each")


def test_the_groups_that_change_most_matter_most():
    """Drops rise with the layer, as the changes do; those of bb fall, those of cc are equal."""
    rows = layer_changes(*models(), "each")
    drops = [
        {"language": name, "group": f"layer {n + 1}", "kind": kind, "drop": value}
        for name, values in (("aa", range(6)), ("bb", range(6, 0, -1)), ("cc", [1] * 6))
        for kind in ("enc_self", "enc_dec")
        for n, value in enumerate(values)
    ]
    found = drop_correlations(rows, drops)
    values = {(r["language"], r["kind"], r["measure"]): r for r in found}
    row = values["aa", "enc_self", "relative_distance"]
    assert row["value"] == pytest.approx(1) and row["p"] == pytest.approx(2 / 720)
    assert row["groups"] == 6
    assert values["bb", "enc_dec", "cosine"]["value"] == pytest.approx(-1)
    assert values["cc", "enc_self", "cosine"]["note"] == "all changes or all drops are equal"
    both = values["aa", "attention", "relative_distance"]
    changes = [row_of(rows, f"layer {n + 1}", k)["relative_distance"]
               for k in ("enc_self", "enc_dec") for n in range(6)]  # fmt: skip
    assert both["groups"] == 12
    assert both["value"] == pytest.approx(spearmanr(changes, [*range(6), *range(6)])[0])
    with pytest.raises(LotteryError, match="no group of the drops is a group of the changes"):
        drop_correlations(layer_changes(*models(), "thirds"), drops)


def test_few_groups_are_not_correlated():
    rows = layer_changes(*models(), "thirds")
    drops = [
        {"language": "aa", "group": group, "kind": "enc_self", "drop": drop}
        for group, drop in (("bottom", 1.0), ("top", 2.0))
    ]
    assert all(row["note"] == "fewer than 3 groups" for row in drop_correlations(rows, drops))


def cka(a, b):
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return np.sum((a.T @ b) ** 2) / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)


def test_cka_is_the_mean_over_the_layers_of_a_group(tmp_path):
    random, made = np.random.default_rng(2), []
    words = [["a", "b", "c"], ["d", "e", "f", "g"]]
    for name in ("before", "after"):
        parts = ("encoder", "decoder")
        made.append({p: [random.normal(size=(7, 3)).astype(np.float32) for _ in range(LAYERS)]
                     for p in parts})  # fmt: skip
        write_activations(tmp_path / name, words, made[-1])
    rows = layer_changes(*models(), "thirds")
    add_cka(rows, [tmp_path / "before", tmp_path / "after"], "thirds")
    values = {p: [cka(*(one[p][n] for one in made)) for n in range(LAYERS)] for p in made[0]}
    found = {(row["group"], row["kind"]): row.get("cka") for row in rows}
    assert found["bottom", "enc_self"] == pytest.approx(np.mean(values["encoder"][:2]), rel=1e-5)
    for kind in ("dec_self", "enc_dec"):
        assert found["top", kind] == pytest.approx(np.mean(values["decoder"][4:]), rel=1e-5)
    both = values["encoder"][2:4] + values["decoder"][2:4]
    assert found["middle", "all"] == pytest.approx(np.mean(both), rel=1e-5)
    assert found["top", "enc_ffn"] is None


def test_the_record_names_the_recordings(tmp_path, capsys):
    files = [save_checkpoint(tmp_path / f"{n}.pt", m) for n, m in zip("ab", models())]
    words = [["w"] * 5] * 4
    layers = np.random.default_rng(1).normal(size=(LAYERS, 20, 3)).astype(np.float32)
    made = {"encoder": layers, "decoder": layers}
    recordings = [tmp_path / name for name in ("before", "after")]
    for path in recordings:
        write_activations(path, words, made)
    line = ["languages", "changes", *files, "--recordings", *map(str, recordings)]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    inputs = json.loads((tmp_path / "out/analysis.json").read_text())["inputs"]
    assert inputs["recordings"] == [str(path) for path in recordings]
    assert " 1.000" in capsys.readouterr().out, "CKA of equal activations"


def test_the_command(tmp_path, capsys):
    before, after = models()
    files = [save_checkpoint(tmp_path / f"{n}.pt", m) for n, m in (("a", before), ("b", after))]
    table = tmp_path / "drops.csv"
    lines = [f"aa,{g},enc_self,{d}" for g, d in (("bottom", 0.1), ("middle", 0.2), ("top", 0.3))]
    table.write_text("language,group,kind,drop\n" + "\n".join(lines) + "\n")
    line = ["languages", "changes", *files, "--drops", str(table)]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    assert "positive if the groups that changed most matter most" in capsys.readouterr().out
    with open(tmp_path / "out/changes.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 3 and row_of(rows, "top", "enc_self")["drop aa"] == "0.3"
    with open(tmp_path / "out/correlations.csv") as file:
        found = list(csv.DictReader(file))
    assert [(r["measure"], float(r["value"])) for r in found] == [
        ("relative_distance", pytest.approx(1)), ("cosine", pytest.approx(1))
    ]  # fmt: skip
    assert float(found[0]["p"]) == pytest.approx(1 / 3), "two of the six orders"
    for text, message in (
        ("language,group,kind\naa,top,enc_self\n", "has no column drop"),
        ("language,group,kind,drop\naa,top,enc_self,x\n", "cannot be read: could not convert"),
        ("language,group,kind,drop\naa,top,enc_self,nan\n", "has no finite drop"),
        ("language,group,kind,drop\naa,top,enc_self\n", "another number of columns"),
        ("language,group,kind,drop\n", "has no rows"),
    ):
        table.write_text(text)
        assert main(line) == 2
        assert message in capsys.readouterr().err
