"""Cells of the matrix that ``fairseq-hydra-train`` runs, a process each."""

import signal

import pytest

pytest.importorskip("fairseq")

from matrix.cells import HYDRA, cells
from toy import PACKAGE, assert_pruned, assert_same_training, call, kill_at

pytestmark = pytest.mark.slow

CONFIG = """
common: {{user_dir: {package}, seed: 3, bf16: {bf16}}}
ema: {{store_ema: {ema}, ema_decay: 0.6}}
task: {{_name: translation_lottery, data: {data}, source_lang: en, target_lang: de, {lottery}}}
criterion: {{_name: label_smoothed_cross_entropy_lottery, label_smoothing: 0.1}}
optimizer: {{_name: masked_adam, adam_betas: "(0.9, 0.98)"}}
lr_scheduler: {{_name: fixed}}
optimization: {{lr: [0.01], max_update: 8, clip_norm: 1.0, update_freq: [{frequency}]}}
dataset: {{max_tokens: 80, num_workers: 0, disable_validation: true}}
checkpoint: {{save_dir: {save_dir}, save_interval_updates: 4, no_epoch_checkpoints: true}}
model:
  _name: transformer
  base_layers: 0
  encoder: {{layers: 1, embed_dim: 8, ffn_embed_dim: 12, attention_heads: 2}}
  decoder: {{layers: 1, embed_dim: 8, ffn_embed_dim: 12, attention_heads: 2}}
"""
PRUNING = "prune_to: 0.8, prune_start: 2, prune_end: 6, prune_every: 2"
MOVEMENT = "pruner: movement, prune_to: 0.8, prune_start: 1, prune_end: 8, prune_every: 1"


def train(toy, save_dir, lottery, row=None, kill=None):
    config = CONFIG.format(
        package=PACKAGE, data=toy.data, save_dir=toy.path(save_dir), lottery=lottery,
        bf16=str(row is not None and row.precision == "bf16").lower(),
        ema=str(row is not None and row.ema == "yes").lower(),
        frequency=row.frequency if row is not None else 1,
    )  # fmt: skip
    toy.path("cell.yaml").write_text(config)
    flags = ["--config-dir", toy.folder, "--config-name", "cell", "hydra.run.dir=hydra"]

    def watched():
        watch_every_update()
        if kill is not None:
            kill_at(kill)

    return call("fairseq_cli.hydra_train", flags, toy.folder, prelude=watched)


def watch_every_update():
    """Let the trainer of this process check its invariants after each update."""
    from fairseq.trainer import Trainer
    from matrix.invariants import watch_of

    train_step = Trainer.train_step

    def step(self, *args, **kwargs):
        if not hasattr(self, "watch"):
            self.watch = watch_of(self) if self.task.run.mask is not None else lambda: None
        done = train_step(self, *args, **kwargs)
        self.watch()
        return done

    Trainer.train_step = step


@pytest.fixture(scope="module")
def dense(toy_data, tmp_path_factory):
    from toy import Toy

    toy = Toy(toy_data, tmp_path_factory.mktemp("hydra"))
    train(toy, "dense", 'snapshot_updates: "0,4"').ok()
    return toy.path("dense")


HERE = list(cells(lambda row: row.command == HYDRA))


@pytest.mark.parametrize("cell", HERE, ids=lambda cell: f"{cell[0].name}-{cell[1]}")
def test_cell(cell, toy, dense):
    row, kind, _ = cell
    ticket = (
        f"mask_from: {dense}/snapshot_4.safetensors, start_from: {dense}/snapshot_0.safetensors,"
        " sparsity: 0.6"
    )
    lottery = ticket if kind == "ticket" else MOVEMENT if row.also else PRUNING
    train(toy, "whole", lottery, row).ok()
    whole = toy.load("whole", "checkpoint_last.pt")
    mask = toy.mask("whole", "checkpoint_last.pt")
    assert mask.sparsity == pytest.approx(0.6 if kind == "ticket" else 0.8, abs=5e-3)
    assert_pruned(whole, mask)
    if row.start == "resumed":
        assert train(toy, "parts", lottery, row, kill=4).code == -signal.SIGKILL
        train(toy, "parts", lottery, row).ok()
        assert_same_training(whole, toy.load("parts", "checkpoint_last.pt"))


def test_a_refusal_is_one_sentence(toy):
    done = train(toy, "run", "prune_to: 0.8, prune_start: 2, prune_end: 9")
    assert done.code == 2 and "Traceback" not in done.out
    printed = [line for line in done.out.splitlines() if line.startswith("fairseq-lottery: ")]
    assert len(printed) == 1 and "--prune-end 9 exceeds --max-update 8" in printed[0]
