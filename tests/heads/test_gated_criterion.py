"""Gates that learn in fairseq-train, from a converged model to a ticket."""

import math
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("fairseq")

import torch
from live import HEADS, Task, transformer
from small import load
from toy import (
    LOTTERY,
    PACKAGE,
    PRECISIONS,
    Toy,
    assert_same_training,
    call,
    half_precision_trains_on_cpu,
    kill_at,
    pretend_cuda,
)

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_source, trainable
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.pruned_weights import find_pruned
from fairseq_lottery.heads.gates.gated_criterion import LabelSmoothedCrossEntropyGates
from fairseq_lottery.heads.measures.score_table import load_scores
from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of

pytestmark = pytest.mark.slow

GATES = ("--criterion", "label_smoothed_cross_entropy_gates", "--gate-anneal", 20)


def test_from_a_converged_model_to_a_ticket(toy, dense, tmp_path):
    model = dense / "checkpoint_last.pt"
    flags = (*GATES, "--open-heads", 5, "--open-blocks", 3, "--finetune-from-model", model)
    rate = ("--lr-scheduler", "fixed", "--validate-interval-updates", 20)
    done = toy.train("gates", *flags, *rate, updates=160).ok()
    opened = [float(x) for x in re.findall(r"valid.*open_heads ([\d.]+)", done.out)]
    assert opened[0] > opened[-1] and opened[-1] == pytest.approx(5, abs=1.5)
    last = toy.path("gates", "checkpoint_last.pt")
    scores = tmp_path / "scores.json"
    assert main(["heads", "importance", str(last), "--measure", "gates", "--out", str(scores)]) == 0
    _, found, _ = load_scores(scores)
    assert set(found) == {"heads", "blocks"}
    total = sum(float(v.sum()) for v in found["heads"].values())
    assert total == pytest.approx(opened[-1], abs=0.5)
    components = tmp_path / "parts.json"
    words = ["heads", "choose", "--scores", scores, "--count", 7, "--out", components]
    assert main([str(word) for word in words]) == 0
    toy.train(
        "ticket", "--mask-from", last, "--components", components, "--reset", "keep", updates=5
    ).ok()
    source = read_source(toy.path("ticket", "checkpoint_last.pt"))
    assert find_pruned(source.weights, anatomy_of(source)) == load_choice(components)[0]


@pytest.mark.parametrize("precision", ["fp32", "fp16-flat"])
def test_a_killed_run_goes_on_to_the_bit(toy, dense, precision):
    if precision != "fp32" and not half_precision_trains_on_cpu():
        pytest.skip("this torch has no half precision on a CPU")
    flags = (*GATES, "--open-heads", 4, "--open-units", "50%", "--save-interval-updates", 4)
    flags += ("--finetune-from-model", dense / "checkpoint_last.pt", *PRECISIONS[precision])
    toy.train("whole", *flags, updates=12, prelude=pretend_cuda).ok()
    killed = toy.train("resumed", *flags, updates=12, prelude=lambda: kill_at(6))
    assert killed.code == -signal.SIGKILL
    toy.train("resumed", *flags, updates=12, prelude=pretend_cuda).ok()
    whole, resumed = (toy.load(run, "checkpoint_last.pt") for run in ("whole", "resumed"))
    assert_same_training(whole, resumed)  # the state of the gates and their optimizer's among it
    extra = whole["criterion"]["gates._extra_state"]
    assert extra["weight"]["heads"] != 0 != extra["weight"]["units"]
    assert extra["targets"] == {"heads": 4, "units": 128} and extra["anneal"] == 20


@pytest.fixture(scope="module")
def learning(toy_data, dense, tmp_path_factory):
    """Four updates of a run whose gates learn."""
    toy = Toy(toy_data, tmp_path_factory.mktemp("learning"))
    start = ("--finetune-from-model", dense / "checkpoint_last.pt")
    toy.train("gates", *GATES, "--open-heads", 4, *start, updates=4).ok()
    return toy.path("gates", "checkpoint_last.pt")


FOUR = (*GATES, "--open-heads", 4)


@pytest.mark.parametrize(
    "flags, message",
    [
        ((*GATES, "--open-heads", 5), "is from a run with --open-heads 4, not 5; choose another"),
        ((*FOUR[:-4], "--gate-anneal", 100, *FOUR[-2:]), "with --gate-anneal 20, not 100"),
        ((*FOUR, "--open-units", 100), "of heads, but the flags request gates of heads and units"),
        ((*GATES, "--open-units", 100), "the flags request gates of units; choose"),
        ((), "--criterion label_smoothed_cross_entropy_lottery has no gates"),
    ],
)
def test_a_run_goes_on_as_itself_only(toy, learning, flags, message):
    toy.path("run").mkdir()
    shutil.copy(learning, toy.path("run", "checkpoint_last.pt"))
    done = toy.train("run", *flags, updates=8)
    assert done.code == 2 and message in done.out and "Traceback" not in done.out


def test_another_task_has_no_gates(toy):
    done = toy.train("run", *FOUR, "--task", "translation", updates=2)
    assert done.code == 2 and "learned gates require --task translation_lott" in done.out


def no_gates(state):
    state["criterion"] = None


def no_entry(state):
    del state["criterion"]


def no_number(state):
    state["criterion"]["gates.theta_heads"][0] = float("nan")


@pytest.mark.parametrize(
    "damage, message",
    [
        (no_gates, "has no gates, so gates cannot resume"),
        (no_entry, "has no gates, so gates cannot resume"),
        (no_number, "gates of heads are not finite real numbers; resume from another"),
    ],
)
def test_lost_and_damaged_gates_end_before_the_first_update(toy, learning, damage, message):
    """All that may be wrong with them is in tests/hostile/test_gates.py."""
    state = load(learning)
    damage(state)
    toy.path("run").mkdir()
    torch.save(state, toy.path("run", "checkpoint_last.pt"))
    done = toy.train("run", *FOUR, updates=8)
    assert done.code == 2 and message in done.out and "Traceback" not in done.out


def test_what_goes_on_in_another_way_may_have_other_targets(toy, learning):
    """Fewer from the gates of another run; and from a checkpoint that was written before."""
    start = ("--finetune-from-model", learning)
    done = toy.train("fewer", *GATES, "--open-heads", 3, *start, updates=2)
    assert "open_heads" in done.ok().out
    state = load(learning)
    for name in ("targets", "anneal"):
        del state["criterion"]["gates._extra_state"][name]
    toy.path("run").mkdir()
    torch.save(state, toy.path("run", "checkpoint_last.pt"))
    toy.train("run", *FOUR, updates=6).ok()
    extra = toy.load("run", "checkpoint_last.pt")["criterion"]["gates._extra_state"]
    assert extra["targets"] == {"heads": 4}


def test_an_exported_model_is_plain_fairseqs(toy, learning, tmp_path):
    """Its loss is that of the whole model, as fairseq-validate says of the run's own checkpoint."""
    plain = tmp_path / "plain.pt"
    assert main(["export", str(learning), "--out", str(plain)]) == 0
    state = load(plain)
    assert state["criterion"] is None
    assert state["cfg"]["criterion"]["_name"] == "label_smoothed_cross_entropy"
    for section in ("criterion", "model", "task"):
        assert not {"open_heads", "open_units", "open_blocks", "gate_anneal"} & {
            *dict(state["cfg"][section])
        }
    words = [toy.data, "--max-tokens", 1000, "--required-batch-size-multiple", 1, "--path"]
    found = []
    for more in ([plain, "--task", "translation"], [learning, *LOTTERY[:4]]):
        done = call("fairseq_cli.validate", [*words, *more], toy.folder).ok()
        found.append(re.findall(r"loss ([\d.]+)", done.out)[-1])
    assert found[0] == found[1] and "gates apply in training only" in done.out


def test_a_mean_of_checkpoints_has_no_gates(toy, dense, tmp_path, capsys):
    flags = (*FOUR, "--save-interval-updates", 2)
    toy.train("run", *flags, "--finetune-from-model", dense / "checkpoint_last.pt", updates=4).ok()
    mean = tmp_path / "mean.pt"
    paths = [toy.path("run", f"checkpoint_1_{update}.pt") for update in (2, 4)]
    assert main(["average", *map(str, paths), "--out", str(mean)]) == 0
    words = ["heads", "importance", mean, "--measure", "gates", "--out", tmp_path / "x"]
    assert main([str(word) for word in words]) == 2
    assert "has no learned gates" in capsys.readouterr().err


def test_the_model_learns_under_its_gates_in_half_precision(toy, dense):
    start = ("--finetune-from-model", dense / "checkpoint_last.pt")
    half = ("--fp16", "--fp16-init-scale", 4, "--fp16-no-flatten-grads")
    done = toy.train("half", *GATES, "--open-heads", 4, *start, *half, updates=10)
    if "not implemented for 'Half'" in done.out:
        pytest.skip("this torch has no half precision on a CPU")
    assert "open_heads" in done.ok().out


@pytest.mark.parametrize("frequency", [1, 4])
def test_the_schedule_counts_updates(toy, dense, frequency):
    """Updates that overflow are among tests/matrix/test_traps.py."""
    start = ("--finetune-from-model", dense / "checkpoint_last.pt", "--update-freq", frequency)
    toy.train("run", *FOUR, *start, updates=4).ok()
    state = toy.load("run", "checkpoint_last.pt")["criterion"]
    assert int(state["gates.steps"]) == 4
    # at first all of the 12 heads are expected to be open but for this share
    closed = 1 - 1 / (1 + math.exp(0.33 * math.log(0.1 / 1.1) - 3))
    excess = [update / 20 * 8 / 12 - closed for update in range(4)]
    weight = state["gates._extra_state"]["weight"]["heads"]
    assert weight == pytest.approx(0.05 * sum(excess), abs=2e-4)


def test_amp_needs_an_optimizer_that_says_what_it_skips(toy, dense):
    start = ("--finetune-from-model", dense / "checkpoint_last.pt")
    done = toy.train("run", *FOUR, *start, "--amp", updates=2, optimizer="adam")
    assert done.code == 2 and "--optimizer adam does not report" in done.out


@pytest.mark.parametrize(
    "flags, message",
    [
        ((), "no gates to learn"),
        (("--open-heads", 13), "--open-heads 13 is out of range (1 to 12)"),
        (("--open-units", 0), "--open-units 0 is out of range (1 to 256)"),
        (("--open-blocks", "half"), "--open-blocks 'half' is neither a number of blocks, such"),
        (("--open-heads", "1%"), "--open-heads 1% rounds to 0, which is out of range (1 to 12"),
    ],
)
def test_bad_targets_end_before_the_first_update(toy, flags, message):
    done = toy.train("bad", *GATES, *flags, updates=5)
    assert done.code == 2 and message in done.out
    assert not list(toy.path("bad").iterdir())  # the folder itself is fairseq's


@pytest.mark.parametrize("kind", ["heads", "units", "blocks"])
def test_units_that_a_norm_reads_are_not_learned(kind, capsys):
    model = transformer(scale_fc=True)
    heads = {f"{side}_attention_heads": HEADS for side in ("encoder", "decoder")}
    run = SimpleNamespace(
        model=model,
        shapes={name: tuple(weight.shape) for name, weight in trainable(model).items()},
        architecture=heads,
        restored=None,
        call_after_updates=lambda function: None,
    )
    task = SimpleNamespace(run=run, target_dictionary=Task.target_dictionary)
    if kind == "heads":
        made = LabelSmoothedCrossEntropyGates(task, False, 0.1, open_heads="50%")
        assert made.gates.targets == {"heads": 12}
        return
    with pytest.raises(SystemExit) as ended:
        LabelSmoothedCrossEntropyGates(task, False, 0.1, **{f"open_{kind}": "50%"})
    assert ended.value.code == 2
    assert "the FFN of decoder.layers.0 normalises over its units" in capsys.readouterr().err


@pytest.mark.parametrize("asked, there, expected", [("5", "open_heads: 1,", 5), ("30%", "", 4)])
def test_hydra_takes_a_number_or_a_share(toy, asked, there, expected):
    """30 % of 12 heads: 8.4 are closed, so 8 are. A number comes as one, a share as text."""
    config = f"""
common: {{user_dir: {PACKAGE}, seed: 3}}
task: {{_name: translation_lottery, data: {toy.data}, source_lang: en, target_lang: de}}
criterion: {{_name: label_smoothed_cross_entropy_gates, {there} gate_anneal: 1}}
optimizer: {{_name: masked_adam, adam_betas: "(0.9, 0.98)"}}
lr_scheduler: {{_name: fixed}}
optimization: {{lr: [0.01], max_update: 2, clip_norm: 1.0}}
dataset: {{max_tokens: 80, num_workers: 0, disable_validation: true}}
checkpoint: {{save_dir: {toy.path("run")}, no_epoch_checkpoints: true}}
model:
  _name: transformer
  base_layers: 0
  encoder: {{layers: 2, embed_dim: 8, ffn_embed_dim: 12, attention_heads: 2}}
  decoder: {{layers: 2, embed_dim: 8, ffn_embed_dim: 12, attention_heads: 2}}
"""
    toy.path("gates.yaml").write_text(config)
    flags = ["--config-dir", toy.folder, "--config-name", "gates", "hydra.run.dir=hydra"]
    words = [*flags, f"{'' if there else '+'}criterion.open_heads={asked}"]
    call("fairseq_cli.hydra_train", words, toy.folder, prelude=tell_targets).ok()
    assert toy.path("hydra", "targets").read_text() == f"heads {expected}"


def tell_targets():
    """Let this process write down what its gates are to reach."""
    from fairseq_lottery.heads.gates.hard_concrete import LearnedGates

    begin = LearnedGates.__init__

    def init(self, anatomy, targets, anneal):
        begin(self, anatomy, targets, anneal)
        Path("targets").write_text(" ".join(f"{k} {v}" for k, v in targets.items()))

    LearnedGates.__init__ = init


def test_a_checkpoint_without_gates_has_none(dense, tmp_path, capsys):
    words = ["heads", "importance", dense / "checkpoint_last.pt", "--measure", "gates", "--out"]
    assert main([str(word) for word in [*words, tmp_path / "x"]]) == 2
    assert "has no learned gates; train with --criterion" in capsys.readouterr().err
