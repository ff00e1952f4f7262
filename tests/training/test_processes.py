"""Trainings of two processes, and processes as fairseq starts them itself."""

import signal
import sys
import types

import pytest
import torch
from toy import (
    PACKAGE,
    alone,
    assert_pruned,
    assert_same_training,
    call,
    drawing,
    free_port,
    kill_at,
    sharing,
    start,
    train_two,
    wait,
)

from fairseq_lottery.masks import count_to_prune

pytestmark = pytest.mark.slow


def test_two_processes_keep_one_mask_and_resume(toy):
    flags = (
        "--prune-to", 0.8, "--prune-start", 1, "--prune-end", 9, "--prune-every", 2,
        "--snapshot-updates", "8", "--save-interval-updates", 4,
    )  # fmt: skip
    first, _ = (done.ok() for done in train_two(toy, "whole", *flags, updates=12))
    assert first.out.count("pruned at update") == 5
    train_two(toy, "parts", *flags, updates=12, prelude=lambda: kill_at(4))
    first, _ = (done.ok() for done in train_two(toy, "parts", *flags, updates=12))
    assert "@ 4 updates" in first.out
    whole, parts = (toy.load(run, "checkpoint_last.pt") for run in ("whole", "parts"))
    assert_same_training(whole, parts)
    mask = toy.mask("whole", "checkpoint_last.pt")
    assert_pruned(whole, mask)
    assert all(mask.pruned_in(name) == count_to_prune(0.8, mask.size(name)) for name in mask)
    snapshots = [toy.path(r, "snapshot_8.safetensors").read_bytes() for r in ("whole", "parts")]
    assert snapshots[0] == snapshots[1]


def test_two_processes_start_from_one_ticket(toy, dense):
    for done in train_two(toy, "slt", *drawing(dense, 0.8), updates=6):
        done.ok()
    toy.train("alone", *drawing(dense, 0.8), updates=6).ok()
    assert toy.mask("slt", "checkpoint_last.pt") == toy.mask("alone", "checkpoint_last.pt")
    tickets = [toy.path(run, "ticket.safetensors").read_bytes() for run in ("slt", "alone")]
    assert tickets[0] == tickets[1]


def test_gates_of_two_processes_count_each_update_once(toy, dense):
    flags = ("--criterion", "label_smoothed_cross_entropy_gates", "--open-heads", 4)
    flags += ("--finetune-from-model", dense / "checkpoint_last.pt", "--update-freq", 2)
    for done in train_two(toy, "run", *flags, updates=3):
        done.ok()
    assert int(toy.load("run", "checkpoint_last.pt")["criterion"]["gates.steps"]) == 3


def test_two_processes_that_draw_other_masks_are_stopped(toy, dense):
    """At the start, and when a mask grows: each rank has another seed."""
    pruning = ("--prune-to", 0.7, "--prune-start", 2, "--prune-end", 4, "--prune-every", 1)
    for flags in (drawing(dense, 0.8), pruning):
        port = free_port()
        ranks = []
        for rank in (0, 1):
            seed = ("--score", "random", "--draw-seed", rank + 1)
            distributed = (*sharing(port, rank), "--ddp-backend", "legacy_ddp")
            arguments = toy.arguments("run", *flags, *seed, *distributed, updates=6)
            ranks.append(start("fairseq_cli.train", arguments, toy.folder))
        for done in map(wait, ranks):
            assert done.code == 2, done.out[-2000:]
            assert "the mask differs between the processes" in done.out
        assert not list(toy.path("run").glob("checkpoint*"))


def test_two_processes_start_a_rewound_counter(toy, dense):
    flags = drawing(dense, 0.5, "--reset", "keep", "--update-counter", "rewind")
    first, _ = (done.ok() for done in train_two(toy, "run", *flags, updates=8))
    assert "@ 5 updates" in first.out
    assert toy.load("run", "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 8


def two_devices():
    """Let fairseq start two workers, which are new interpreters: neither imports this process."""
    torch.cuda.device_count = lambda: 2
    sys.modules["__main__"] = types.ModuleType("__main__")


def test_workers_that_fairseq_spawns_know_the_plugin(toy, dense):
    flags = (
        "--distributed-world-size", 2, "--distributed-backend", "gloo", "--ddp-backend",
        "legacy_ddp", "--distributed-init-method", f"tcp://127.0.0.1:{free_port()}",
    )  # fmt: skip
    arguments = toy.arguments("run", *drawing(dense, 0.8), *flags, updates=2)
    done = call("fairseq_cli.train", arguments, toy.folder, alone(), prelude=two_devices).ok()
    assert done.out.count("distributed init (rank 1)") == 1
    mask = toy.mask("run", "checkpoint_last.pt")
    assert mask.sparsity == pytest.approx(0.8, abs=1e-3)
    assert_pruned(toy.load("run", "checkpoint_last.pt"), mask)


HYDRA = """
common: {{user_dir: {package}, bf16: true, seed: 3, log_format: simple}}
task:
  _name: translation_lottery
  data: {data}
  source_lang: en
  target_lang: de
  prune_to: 0.8
  prune_start: 1
  prune_end: 5
  prune_every: 2
  snapshot_updates: "8"
criterion: {{_name: label_smoothed_cross_entropy_lottery, label_smoothing: 0.1}}
optimizer: {{_name: masked_adam, adam_betas: "(0.9, 0.98)"}}
lr_scheduler: {{_name: fixed}}
optimization: {{lr: [0.003], max_update: 12, clip_norm: 1.0}}
dataset: {{max_tokens: 500, num_workers: 0}}
checkpoint: {{save_dir: {save_dir}, save_interval_updates: 4, no_epoch_checkpoints: true}}
model:
  _name: transformer
  share_all_embeddings: true
  base_layers: 0
  encoder: {{layers: 1, embed_dim: 32, ffn_embed_dim: 64, attention_heads: 2}}
  decoder: {{layers: 1, embed_dim: 32, ffn_embed_dim: 64, attention_heads: 2}}
"""


def test_bf16_through_hydra_keeps_masters(toy):
    """The legacy command line takes --bf16 for a TPU; hydra's runs it anywhere."""

    def train(save_dir, prelude=None):
        config = HYDRA.format(package=PACKAGE, data=toy.data, save_dir=toy.path(save_dir))
        toy.path("bf16.yaml").write_text(config)
        flags = ["--config-dir", toy.folder, "--config-name", "bf16", "hydra.run.dir=hydra"]
        return call("fairseq_cli.hydra_train", flags, toy.folder, prelude=prelude)

    train("whole").ok()
    assert train("parts", lambda: kill_at(8)).code == -signal.SIGKILL
    train("parts").ok()
    whole, parts = (toy.load(run, "checkpoint_last.pt") for run in ("whole", "parts"))
    for name, weight in whole["model"].items():
        assert torch.equal(weight, weight.to(torch.bfloat16).to(weight.dtype)), name
    assert_same_training(whole, parts)
    masters = whole["last_optimizer_state"]["lottery"]["masters"]
    mask = toy.mask("whole", "checkpoint_last.pt")
    assert mask.sparsity == pytest.approx(0.8, abs=1e-3)
    for name in mask:
        assert not masters[name][~mask[name]].any()
