"""The line between two models: its ends, equal models, permuted ones, and masks."""

import copy
import csv
import json
from pathlib import Path

import pytest

pytest.importorskip("fairseq")

import torch
from small import load

from fairseq_lottery.analysis.weights.connectivity import connect
from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint, trainable
from fairseq_lottery.inference.loaded_model import batches, examples, load_for_evaluation

GOLDEN = Path(__file__).parents[2] / "golden"
DATA = str(GOLDEN / "data")
TRAINED = GOLDEN / "modern/trained"
TIED = ("decoder.embed_tokens.weight", "decoder.output_projection.weight")


def save(path, like, parameters):
    """A copy of a golden checkpoint with other weights."""
    state = copy.deepcopy(dict(read_checkpoint(like)))
    tensors = {**parameters, **{name: parameters["encoder.embed_tokens.weight"] for name in TIED}}
    for name in state["model"]:
        if name in tensors:
            state["model"][name] = tensors[name].detach().clone()
    torch.save(state, path)
    return path


def losses_of(path, subset="valid", tokens=4096):
    """Nats per token and share of wrong tokens, from the model of the file itself."""
    loaded = load_for_evaluation(path, DATA, cpu=True)
    total = count = wrong = 0
    with torch.no_grad():
        for batch in batches(examples(loaded, subset, None), tokens, loaded.device):
            loss, tokens_of_batch, _ = loaded.evaluation.loss(loaded.model, batch)
            total, count = total + float(loss), count + tokens_of_batch
            logits = loaded.model(**batch["net_input"])[0]
            for row, targets in zip(logits, batch["target"]):
                for scores, target in zip(row, targets.tolist()):
                    wrong += target != 1 and int(scores.argmax()) != target
    return total / count, wrong / count


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A model that fits the nine sentences of the validation set, in sixty steps of Adam."""
    loaded = load_for_evaluation(TRAINED / "dense/checkpoint_last.pt", DATA, cpu=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (batch,) = batches(examples(loaded, "valid", None), 4096, loaded.device)
    optimizer = torch.optim.Adam(loaded.model.parameters(), lr=0.02)
    for _ in range(60):
        loss, tokens, _ = loaded.evaluation.loss(loaded.model, batch)
        optimizer.zero_grad()
        (loss / tokens).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    path = tmp_path_factory.mktemp("fitted") / "fitted.pt"
    return save(path, TRAINED / "dense/checkpoint_last.pt", trainable(loaded.model))


@pytest.fixture(scope="module")
def permuted(fitted):
    """The same function in another place: the units of each FFN in another order."""
    weights = {n: w.clone() for n, w in read_checkpoint(fitted)["model"].items()}
    chance = torch.Generator().manual_seed(1)
    for name in [name for name in weights if name.endswith("fc1.weight")]:
        start = name[: -len("fc1.weight")]
        order = torch.randperm(len(weights[name]), generator=chance)
        for part in ("fc1.weight", "fc1.bias"):
            weights[start + part] = weights[start + part][order]
        weights[f"{start}fc2.weight"] = weights[f"{start}fc2.weight"][:, order]
    return save(fitted.with_name("permuted.pt"), fitted, weights)


@pytest.mark.parametrize("tokens", [4096, 60])
def test_the_ends_are_the_models_themselves(fitted, tokens):
    other = TRAINED / "plain/checkpoint_last.pt"
    line = connect(fitted, other, DATA, points=3, tokens=tokens, cpu=True)
    for end, path in ((0, fitted), (-1, other)):
        loss, error = losses_of(path, tokens=tokens)
        assert line.loss.values[end] == loss
        assert line.error.values[end] == error
    assert (line.examples, line.masks) == (9, "none")
    assert line.tokens == 58


def test_points_between_are_models_of_mixed_weights(fitted, tmp_path):
    other = TRAINED / "plain/checkpoint_last.pt"
    line = connect(fitted, other, DATA, points=5, cpu=True)
    a, b = (load_for_evaluation(path, DATA, cpu=True).weights for path in (fitted, other))
    assert any("layer_norm" in name for name in a)
    mixed = {n: (0.75 * a[n].double() + 0.25 * b[n].double()).float() for n in a}
    path = save(tmp_path / "mixed.pt", fitted, mixed)
    assert (line.loss.values[1], line.error.values[1]) == losses_of(path)


def test_equal_models_have_no_barrier(fitted):
    line = connect(fitted, fitted, DATA, points=4, cpu=True)
    assert len(set(line.error.values)) == 1
    assert line.loss.barrier == pytest.approx(0, abs=1e-6) and line.error.barrier == 0


def test_a_permuted_model_is_the_same_function_behind_a_barrier(fitted, permuted):
    line = connect(fitted, permuted, DATA, points=5, cpu=True)
    assert line.loss.values[0] == pytest.approx(line.loss.values[-1], rel=1e-4)
    assert line.loss.barrier > 0.2 and line.error.barrier > 0.05
    assert line.loss.bump == pytest.approx(line.loss.barrier, abs=1e-4)
    assert 0 < line.loss.top < 1


def test_the_command_prints_saves_and_refuses_to_overwrite(fitted, permuted, tmp_path, capsys):
    command = ["connect", str(fitted), str(permuted), "--data", DATA, "--cpu", "--points", "3"]
    assert main([*command, "--json", "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    line = connect(fitted, permuted, DATA, points=3, cpu=True)
    rows = {(row["statistic"], row.get("alpha")): row["value"] for row in printed["rows"]}
    assert [rows["loss", alpha] for alpha in (0, 0.5, 1)] == line.loss.values
    assert [rows["error", alpha] for alpha in (0, 0.5, 1)] == line.error.values
    assert rows["loss-barrier", None] == line.loss.barrier
    assert rows["error-bump", None] == line.error.bump
    assert printed["inputs"]["pairs"][0]["weights"] == list(line.digests)
    with open(tmp_path / "out/connect.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(rows) == 10
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert main(command) == 0
    assert f"barrier of the loss: {line.loss.barrier:.4f}" in capsys.readouterr().out


def test_masks_are_kept_or_named(tmp_path):
    ticket, dense = (TRAINED / name / "checkpoint_last.pt" for name in ("ticket", "dense"))
    state = load(ticket)
    for name in state["model"]:
        if name.endswith("fc1.weight"):
            state["model"][name] = state["model"][name] * 2
    torch.save(state, tmp_path / "child.pt")
    line = connect(ticket, tmp_path / "child.pt", DATA, points=3, cpu=True)
    assert line.masks == "same"
    with pytest.raises(LotteryError, match="one of them is dense.*give --join-masks"):
        connect(ticket, dense, DATA, points=3, cpu=True)
    joined = connect(ticket, dense, DATA, points=3, cpu=True, joins_masks=True)
    assert joined.masks == "union"
    growing = TRAINED / "growing/checkpoint_last.pt"
    with pytest.raises(LotteryError, match=r"have a Jaccard index of 0\.\d{3}"):
        connect(ticket, growing, DATA, points=3, cpu=True)


def test_what_does_not_pair_is_one_sentence(fitted, tmp_path):
    with pytest.raises(LotteryError, match="--points 2 has no point between"):
        connect(fitted, fitted, DATA, points=2, cpu=True)
    with pytest.raises(LotteryError, match="--sentences 0 is out of range"):
        connect(fitted, fitted, DATA, sentences=0, cpu=True)
    with pytest.raises(LotteryError, match="called nothing; give another --subset"):
        connect(fitted, fitted, DATA, subset="nothing", cpu=True)
    state = load(fitted)
    state["cfg"]["model"].decoder_attention_heads = 4
    torch.save(state, tmp_path / "heads.pt")
    with pytest.raises(LotteryError, match="equal shapes but different architectures"):
        connect(fitted, tmp_path / "heads.pt", DATA, points=3, cpu=True)
    state = load(fitted)
    for name in state["model"]:
        if "fc1" in name or "fc2.weight" in name:
            axis = 1 if "fc2" in name else 0
            state["model"][name] = state["model"][name].narrow(axis, 0, 12).clone()
    for side in ("encoder", "decoder"):
        setattr(state["cfg"]["model"], f"{side}_ffn_embed_dim", 12)
    torch.save(state, tmp_path / "narrow.pt")
    with pytest.raises(LotteryError, match=r"different shapes \(\(16,\) and \(12,\)\)"):
        connect(fitted, tmp_path / "narrow.pt", DATA, points=3, cpu=True)
