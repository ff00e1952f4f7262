"""fairseq's own commands for fine-tuning a RoBERTa: hydra, validation, hub, best checkpoints."""

import re

import pytest
import toy
from labelled import SENTENCES, USER_DIR, Runs, encoder_of, head_of

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source
from fairseq_lottery.inference.scores.task_scores import measure_scores

pytest.importorskip("fairseq")

pytestmark = pytest.mark.slow

#: as examples/roberta/config/finetuning of fairseq has it, with a model of its size
CONFIG = """
common: {{user_dir: {package}, seed: 3, log_format: simple}}
task:
  _name: sentence_prediction_lottery
  data: {data}
  init_token: 0
  separator_token: 2
  num_classes: 3
  max_positions: 64
  {lottery}
criterion: {{_name: sentence_prediction_lottery}}
optimizer: {{_name: masked_adam, weight_decay: 0.1, adam_betas: "(0.9,0.98)", adam_eps: 1e-06}}
lr_scheduler: {{_name: polynomial_decay, warmup_updates: 5}}
optimization: {{lr: [2e-3], max_update: 20, clip_norm: 1.0, update_freq: [2]}}
dataset: {{batch_size: 16, required_batch_size_multiple: 1, num_workers: 0}}
distributed_training: {{find_unused_parameters: true, distributed_world_size: 1}}
checkpoint:
  save_dir: {save_dir}
  {start}
  save_interval_updates: 4
  best_checkpoint_metric: f1_macro
  maximize_best_checkpoint_metric: true
  no_epoch_checkpoints: true
model:
  _name: roberta
  encoder_layers: 2
  encoder_embed_dim: 32
  encoder_ffn_embed_dim: 64
  encoder_attention_heads: 2
  max_positions: 64
  dropout: 0.1
  attention_dropout: 0.1
"""
START = (
    "restore_file: {last}\n  reset_optimizer: true\n  reset_dataloader: true\n  reset_meters: true"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("recipes"))
    runs.train("text", "pretrained").ok()
    runs.draw("ticket.safetensors", "--mask-from", "pretrained/checkpoint_last.pt",
              "--sparsity", 0.5)  # fmt: skip
    runs.log = runs.train("three", "three-run", "--lr", 5e-3, updates=39).ok().out
    return runs


def hydra(runs, save_dir, lottery="head_seed: 7", start="", kill=None):
    config = CONFIG.format(
        package=toy.PACKAGE, data=runs.path("three"), save_dir=runs.path(save_dir),
        lottery=lottery, start=start or "keep_interval_updates: 1",
    )  # fmt: skip
    (runs.folder / "recipe.yaml").write_text(config)
    flags = ["--config-dir", runs.folder, "--config-name", "recipe", "hydra.run.dir=hydra"]
    prelude = None if kill is None else lambda: toy.kill_at(kill)
    return toy.call("fairseq_cli.hydra_train", flags, runs.folder, prelude=prelude)


def test_hydra_fine_tunes_a_pretrained_model(runs):
    last = runs.path("pretrained/checkpoint_last.pt")
    hydra(runs, "tuned", start=START.format(last=last)).ok()
    state = runs.load("tuned")
    assert state["cfg"]["checkpoint"]["restore_file"] == last
    before = read_source(last).weights
    moved = [(before[n] - v).abs().max() for n, v in read_source(
        runs.path("tuned/checkpoint_last.pt")).weights.items() if "q_proj.weight" in n]  # fmt: skip
    assert all(0 < distance < 0.1 for distance in moved), "it did not start from these weights"


def test_hydra_trains_a_ticket_and_resumes_to_the_bit(runs):
    pruning = (
        f"ticket: {runs.path('ticket.safetensors')}\n  head_seed: 7\n  prune_to: 0.8\n"
        "  prune_start: 4\n  prune_end: 16\n  prune_every: 4\n  snapshot_updates: '0,8'"
    )
    hydra(runs, "whole", pruning).ok()
    assert hydra(runs, "parts", pruning, kill=10).code == -9
    hydra(runs, "parts", pruning).ok()
    toy.assert_same_training(runs.load("whole"), runs.load("parts"))
    mask = read_source(runs.path("whole/checkpoint_last.pt")).mask
    assert mask.sparsity == pytest.approx(0.8, abs=1e-3)
    assert mask.is_subset_of(load_ticket(runs.path("ticket.safetensors")).mask)
    assert main(["inspect", runs.path("whole"), "--check"]) == 0
    snapshot = read_source(runs.path("whole/snapshot_0.safetensors"))
    assert toy.same(snapshot.weights, load_ticket(runs.path("ticket.safetensors")).values)


def figures(text):
    line = re.findall(r"valid on 'valid' subset (.*)", text)[-1]
    return {n: float(x) for n, x in re.findall(r"\| (\w+) ([-\d.e]+)", line)}


def test_fairseq_validate_gives_the_scores_of_the_training(runs):
    flags = [*SENTENCES[:4], "--num-classes", 3, *USER_DIR]
    path = ["--path", runs.path("three-run/checkpoint_last.pt"), "--batch-size", 16]
    done = toy.call("fairseq_cli.validate", [runs.folder / "three", *flags, *path], runs.folder)
    found, expected = figures(done.ok().out), figures(runs.log)
    assert {n: found[n] for n in ("loss", "accuracy", "f1_macro", "mcc")} == {
        n: expected[n] for n in ("loss", "accuracy", "f1_macro", "mcc")
    }


def test_a_validation_of_two_processes_joins_their_predictions(runs):
    from fairseq_lottery.inference.loaded_model import load_for_evaluation

    port, ranks = toy.free_port(), []
    for rank in range(2):
        flags = ["--lr", 5e-3, *toy.sharing(port, rank), "--ddp-backend", "legacy_ddp"]
        line = runs.flags("three", "shared", *flags, updates=24)
        ranks.append(toy.start("fairseq_cli.train", line, runs.folder))
    logs = [toy.wait(rank).ok().out for rank in ranks]
    loaded = load_for_evaluation(runs.path("shared/checkpoint_last.pt"), cpu=True)
    logged = figures(logs[0])
    for score in measure_scores(loaded, metrics=("f1_macro", "mcc")):
        assert score.score == pytest.approx(logged[score.metric], rel=1e-5)
        assert score.examples == 61


def test_the_best_checkpoint_is_chosen_by_a_score(runs):
    """The scores of all validations are in the log; the best model has the largest."""
    flags = ["--best-checkpoint-metric", "mcc", "--maximize-best-checkpoint-metric"]
    more = ["--save-interval-updates", 6, "--lr", 5e-3]
    log = runs.train("two", "chosen", *flags, *more, updates=30).ok().out
    found = [float(x) for x in re.findall(r"valid on 'valid' subset .*?\| mcc ([-\d.e]+)", log)]
    best = runs.load("chosen", "checkpoint_best.pt")
    assert len(found) >= 5 and max(found) > 0
    assert best["extra_state"]["val_loss"] == pytest.approx(max(found), rel=1e-5)


def test_the_hub_predicts_and_registers_heads(runs):
    import torch
    from fairseq.models.roberta import RobertaModel

    from fairseq_lottery.inference.loaded_model import load_for_evaluation

    name = "sentence_classification_head"
    hub = RobertaModel.from_pretrained(
        runs.path("three-run"), "checkpoint_last.pt", runs.path("three"), bpe=None
    )
    hub.eval()
    words = "<s> w0 w7 w1 </s> </s> w2 w30 </s>"
    tokens = hub.task.source_dictionary.encode_line(
        words, append_eos=False, add_if_not_exist=False
    ).long()
    loaded = load_for_evaluation(runs.path("three-run/checkpoint_last.pt"), cpu=True)
    with torch.no_grad():
        logits = loaded.model(tokens[None], classification_head_name=name)[0]
    assert torch.equal(hub.predict(name, tokens, return_logits=True), logits)
    hub.register_classification_head("mine", num_classes=5)
    assert hub.predict("mine", tokens).shape == (1, 5)
    # a file with a head more is read, drawn from, and evaluated with the head of its task
    state = read_checkpoint(runs.path("three-run/checkpoint_last.pt"))
    state = {**state, "model": hub.model.state_dict(), "last_optimizer_state": None}
    torch.save(state, runs.path("more.pt"))
    assert toy.same(
        read_source(runs.path("more.pt")).weights,
        read_source(runs.path("three-run/checkpoint_last.pt")).weights,
    )
    scores = [
        [score.score for score in measure_scores(load_for_evaluation(runs.path(path), cpu=True))]
        for path in ("more.pt", "three-run/checkpoint_last.pt")
    ]
    assert scores[0] == scores[1]


def test_plain_fairseq_trains_the_exported_model_on(runs):
    """Without our task: the head and the encoder are those of the export."""
    assert main(["export", runs.path("three-run/checkpoint_last.pt"), "--out",
                 runs.path("plain.pt")]) == 0  # fmt: skip
    flags = runs.flags("three", "plain", "--finetune-from-model", runs.path("plain.pt"), updates=1)
    plain = {"sentence_prediction_lottery": "sentence_prediction", "masked_adam": "adam"}
    words = [plain.get(flag, flag) for flag in flags]
    toy.call("fairseq_cli.train", [*words, "--lr", 0], runs.folder).ok()
    state, expected = runs.load("plain"), read_checkpoint(runs.path("plain.pt"))
    assert toy.same(head_of(state), head_of(expected))
    assert toy.same(encoder_of(state), encoder_of(expected))
