"""Masks of two tasks from pre-trained weights, in one workflow: drawn, trained, scored, moved."""

import json
import subprocess

import pytest
import torch

pytest.importorskip("fairseq")
pytest.importorskip("snakemake")

import labelled
import toy
from whole import ALONE, pending, run

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import load_ticket, read_source
from fairseq_lottery.inference.loaded_model import load_for_evaluation
from fairseq_lottery.inference.scores.task_scores import measure_scores

pytestmark = pytest.mark.slow

TRAIN = " ".join(labelled.ROBERTA) + (
    " --optimizer masked_adam --lr 2e-3 --lr-scheduler inverse_sqrt --warmup-updates 5"
    " --batch-size 16 --clip-norm 1.0 --num-workers 0 --log-format simple --log-interval 10"
    " --max-update 20 --validate-interval-updates 10 --save-interval-updates 10"
)
SENTENCES = (
    "--init-token 0 --separator-token 2 --criterion sentence_prediction_lottery --num-classes 3"
    " --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric"
)
MASKED = "--criterion masked_lm_lottery --tokens-per-sample 32 --sample-break-mode eos"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with pre-trained weights and a finished workflow, and its configuration."""
    folder = tmp_path_factory.mktemp("transfer")
    data = labelled.write_pretraining(folder)
    labelled.write_labelled(folder, "labels", 3)
    words = [data, *labelled.USER_DIR, *labelled.MASKED_LM, *labelled.ROBERTA, *labelled.TRAIN]
    words += ["--max-update", 20, "--cpu", "--save-dir", "pre"]
    toy.call("fairseq_cli.train", words, folder).ok()
    content = {
        "task": "sentence_prediction",
        "pretrained": "pre/checkpoint_last.pt",
        "train": TRAIN,
        "data": [
            {"name": "labels", "data": "labels", "train": SENTENCES,
             "metrics": ["accuracy", "mcc", "loss"]},
            {"name": "mlm", "data": "text", "task": "masked_lm", "train": MASKED},
        ],
        "techniques": ["imp", "transfer", {"lr-rewind": {"rewind": 0, "rounds": [0.2]}}],
        "sparsities": [0.2],
        "scope": "global",
        "prunable": "layers",
        "keep": ["tickets"],
        "resources": {"gpus": 0},
        "out": "runs",
    }  # fmt: skip
    path = folder / "transfer.yaml"
    path.write_text(json.dumps(content))
    script = run(path, "--emit", "bash", "--jobs", 2).stdout
    done = subprocess.run(["bash", "-s"], input=script, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return path


def rows(path):
    lines = (path.parent / "runs/records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {(r["data"], r["technique"], r["metric"]): r for r in records if r["kind"] == "score"}


def test_every_cell_has_the_metrics_of_its_task(finished):
    assert pending(finished)["stages"] == 0
    found = rows(finished)
    techniques = ("dense", "imp", "lr-rewind", "transfer-labels", "transfer-mlm")
    assert set(found) == {
        *(("labels", t, m) for t in techniques for m in ("accuracy", "mcc", "loss")),
        *(("mlm", t, "loss") for t in techniques),
    }
    for (data, technique, metric), row in found.items():
        assert row["maximise"] == (metric != "loss")
        assert row["examples"] == {"labels": 61, "mlm": 122}[data]
        # 2 layers of 4 matrices of 32 x 32 and 2 of 32 x 64, and 20 % of them
        assert row["prunable"] == 2 * (4 * 32 * 32 + 2 * 32 * 64)
        assert row["pruned"] == (0 if technique == "dense" else round(0.2 * 16_384))


def test_scores_are_those_of_the_models(finished):
    found = rows(finished)
    folder = finished.parent
    for data, subset in (("labels", "labels"), ("mlm", "text")):
        row = found[data, "imp", "loss"]
        loaded = load_for_evaluation(f"{folder}/runs/{row['training']}/best.pt",
                                     str(folder / subset), True)  # fmt: skip
        (again,) = measure_scores(loaded, "valid", ["loss"], tokens=300)
        assert again.score == pytest.approx(row["score"], rel=1e-5)
        with pytest.raises(LotteryError, match="metric '?pearson'? is (not defined|unknown)"):
            measure_scores(loaded, "valid", ["pearson"])
        with pytest.raises(LotteryError, match="has no examples of .* called other; give another"):
            measure_scores(loaded, "other", ["loss"])


def test_masks_move_and_every_run_starts_from_the_file(finished):
    found, runs = rows(finished), finished.parent / "runs"
    start = read_source(finished.parent / "pre/checkpoint_last.pt")
    tickets = {}
    for (data, technique, metric), row in found.items():
        if metric == "loss" and technique != "lr-rewind":
            tickets[data, technique] = load_ticket(runs / row["training"] / "ticket.safetensors")
    for ticket in tickets.values():
        assert not any("classification_heads" in name for name in ticket.values)
        for name, value in ticket.values.items():
            keep = ticket.mask[name] if name in ticket.mask else torch.ones_like(value).bool()
            assert torch.equal(value, start.weights[name] * keep)
    for data, other in (("labels", "mlm"), ("mlm", "labels")):
        moved, own = tickets[data, f"transfer-{other}"], tickets[data, "imp"]
        assert moved.mask.digest() == tickets[other, "imp"].mask.digest() != own.mask.digest()
        assert found[data, f"transfer-{data}", "loss"] == {
            **found[data, "imp", "loss"], "technique": f"transfer-{data}",
            "run": found[data, f"transfer-{data}", "loss"]["run"],
        }  # fmt: skip


def test_standard_pruning_keeps_trained_weights_and_trains_from_update_0(finished):
    """The pre-trained file is of update 20, and a training of 20 updates has none left there."""
    found, runs = rows(finished), finished.parent / "runs"
    for data in ("labels", "mlm"):
        row, dense = found[data, "lr-rewind", "loss"], found[data, "dense", "loss"]
        ticket = load_ticket(runs / row["training"] / "ticket.safetensors")
        assert (ticket.record["update"], ticket.first_update) == (20, 0)
        assert ticket.record["reset"] == "keep" and row["training"] != dense["training"]
        assert row["update"] in (10, 20)


def test_a_checkpoint_of_another_architecture_is_refused_before_anything_runs(finished, tmp_path):
    folder = finished.parent
    content = json.loads(finished.read_text())
    for flags, sentence in (
        ("--encoder-layers 3", "has 2 encoder layers, but the model of train has 3"),
        ("--encoder-attention-heads 4", "has 2 heads per encoder layer, but the model of train"),
    ):
        name, _, value = flags.partition(" ")
        words = content["train"].split()
        words[words.index(name) + 1] = value
        other = folder / "other.yaml"
        other.write_text(json.dumps({**content, "train": " ".join(words)}))
        refused = run(other, "--out", tmp_path / "runs", code=2).stderr
        assert sentence in refused and refused.count("\n") == 1, refused
