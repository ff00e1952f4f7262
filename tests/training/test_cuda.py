"""The same on a GPU, where fairseq takes other paths: fused Adam, flat fp16, amp; heads are
measured there too.

Every command is a new interpreter's: a forked process cannot use a GPU that its parent looked at.
"""

import json
import subprocess
import sys

import pytest
import torch
from toy import HALF, LOTTERY, Done, Toy, alone, assert_pruned, drawing, hypotheses

from fairseq_lottery.formats import read_source
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.pruned_weights import weight_masks

pytestmark = [pytest.mark.slow, pytest.mark.cuda]

PRECISIONS = {
    "fp32": [],
    "fp16": ["--fp16", "--fp16-init-scale", 4],
    "fp16-no-flatten": ["--fp16", "--fp16-init-scale", 4, "--fp16-no-flatten-grads"],
    "memory-efficient": ["--memory-efficient-fp16", "--fp16-init-scale", 4],
    "amp": ["--amp", "--fp16-init-scale", 4],
}


def run(toy, module, *words):
    """What a command prints; it has to succeed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        capture_output=True, text=True, timeout=300, cwd=toy.folder,
        env=alone(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Done(0, done.stdout)


def train(toy, save_dir, *flags, updates):
    return run(toy, "fairseq_cli.train", *toy.arguments(save_dir, *flags, updates=updates))


def translations(toy, model, *flags):
    """Of all 50 sentences, number -> text."""
    words = [toy.data, "-s", "en", "-t", "de", *LOTTERY[:4], "--path", model, "--beam", 2]
    found = hypotheses(run(toy, "fairseq_cli.generate", *words, "--max-tokens", 1000, *flags))
    assert len(found) == 50
    return found


def heads(toy, step, *words):
    return run(toy, "fairseq_lottery.cli.main", "heads", step, *words)


@pytest.fixture(scope="module")
def trained(toy_data, tmp_path_factory):
    """A dense run of 60 updates with snapshots of updates 0 and 5."""
    toy = Toy(toy_data, tmp_path_factory.mktemp("trained"))
    train(toy, "dense", "--snapshot-updates", "0,5", updates=60)
    return toy.path("dense")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_growing_mask_holds_on_a_gpu_and_over_a_restart(toy, precision):
    flags = [*PRECISIONS[precision], "--prune-to", 0.8, "--prune-start", 2, "--prune-end", 12]
    flags += ["--prune-every", 5, "--snapshot-updates", "13"]
    train(toy, "run", *flags, updates=13)
    before = toy.mask("run", "checkpoint_last.pt")
    train(toy, "run", *flags, updates=16)
    mask = toy.mask("run", "checkpoint_last.pt")
    assert mask == before
    assert mask.sparsity == pytest.approx(0.8, abs=1e-3)
    state = toy.load("run", "checkpoint_last.pt")
    assert_pruned(state, mask)
    optimizer = state["last_optimizer_state"]
    for name, master in (optimizer.get("lottery", {}).get("masters") or {}).items():
        if name in mask:
            assert not master[~mask[name]].any()


MEASURED = {
    "token": ["importance", "--per", "token"],
    "sentence": ["importance", "--per", "sentence"],
    "confidence": ["importance", "--measure", "confidence"],
    "loss": ["ablate", "--blocks"],
    "bleu": ["ablate", "--metric", "bleu"],
}


@pytest.mark.parametrize("step", MEASURED)
def test_heads_are_measured_as_on_a_cpu(toy, trained, step):
    """The same scores to rounding; of BLEU, where a near tie may turn, to one in a hundred."""
    name, *flags = MEASURED[step]
    found = []
    for place in ([], ["--cpu"]):
        out = f"scores{len(found)}.json"
        heads(toy, name, trained / "checkpoint_last.pt", *flags, *place, "--out", out)
        found.append(json.loads(toy.path(out).read_text()))
    gpu, cpu = found
    assert (gpu["record"]["cpu"], cpu["record"]["cpu"]) == (False, True)
    for kind, modules in cpu["scores"].items():
        for module, scores in modules.items():
            near = {"abs": 1.0} if step == "bleu" else {"rel": 1e-3, "abs": 1e-5}
            assert gpu["scores"][kind][module] == pytest.approx(scores, **near), (kind, module)


def test_changes_and_a_search(toy, trained):
    last = trained / "checkpoint_last.pt"
    for place, out in (([], "gpu.json"), (["--cpu"], "cpu.json")):
        before = trained / "snapshot_5.safetensors"
        heads(toy, "changes", before, last, "--of", "attention", *place, "--out", out)
    gpu, cpu = (json.loads(toy.path(f"{one}.json").read_text()) for one in ("gpu", "cpu"))
    for module, scores in cpu["scores"]["heads"].items():
        assert gpu["scores"]["heads"][module] == pytest.approx(scores, rel=1e-3, abs=1e-5)
    heads(toy, "search", last, "--kind", "weights", "--enough", 0.9, "--out", "found.safetensors")
    assert 0 < read_source(toy.path("found-good.safetensors")).mask.sparsity < 1
    heads(toy, "search", last, "--enough", 0.9, "--out", "found.json")
    assert load_choice(toy.path("found-good.json"))[0].count("heads") == 12


@pytest.fixture
def half(toy, trained):
    """Half of the heads and of the units, as a choice."""
    for kind, start in (("heads", []), ("units", ["--components", "heads.json"])):
        of = ["--of", trained / "checkpoint_last.pt", "--strategy", "random", "--kind", kind]
        heads(toy, "choose", *of, "--share", 0.5, *start, "--out", f"{kind}.json")
    return toy.path("units.json")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_closed_parts_and_pruned_weights_stay_zero(toy, trained, half, precision):
    flags = [*PRECISIONS[precision], *drawing(trained, 0.5, "--components", half)]
    train(toy, "run", *flags, updates=8)
    train(toy, "run", *flags, updates=12)
    mask, parts = toy.mask("run", "checkpoint_last.pt"), load_choice(half)[0]
    state = toy.load("run", "checkpoint_last.pt")
    assert_pruned(state, mask)
    weights = read_source(toy.path("run", "checkpoint_last.pt")).weights
    closed = weight_masks(parts, {name: tuple(w.shape) for name, w in weights.items()})
    for name, keep in closed.items():
        assert not weights[name][~keep].any(), name
    opened = sum(int((mask[n] & closed.get(n, mask[n])).sum()) for n in mask)
    total = sum(int(closed.get(n, torch.ones_like(mask[n])).sum()) for n in mask)
    assert opened / total == pytest.approx(0.5, abs=1e-3)
    translations(toy, "run/checkpoint_last.pt", "--fp16")


def test_slim_translates_as_with_zeros(toy, trained, half):
    train(toy, "run", *drawing(trained, 0, "--components", half), updates=8)
    last = toy.path("run", "checkpoint_last.pt")
    run(toy, "fairseq_lottery.cli.main", "export", last, "--to", "slim", "--out", "slim.pt")
    assert translations(toy, "slim.pt") == translations(toy, "run/checkpoint_last.pt")
    translations(toy, "slim.pt", "--fp16")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gates_learn_over_a_restart(toy, trained, precision):
    flags = [*PRECISIONS[precision], "--finetune-from-model", trained / "checkpoint_last.pt"]
    flags += ["--criterion", "label_smoothed_cross_entropy_gates", "--open-heads", 6]
    flags += ["--gate-anneal", 10]
    train(toy, "gates", *flags, updates=10)
    assert int(toy.load("gates", "checkpoint_last.pt")["criterion"]["gates.steps"]) >= 10
    train(toy, "gates", *flags, updates=30)
    last = toy.path("gates", "checkpoint_last.pt")
    heads(toy, "importance", last, "--measure", "gates", "--out", "gates.json")
    found = json.loads(toy.path("gates.json").read_text())["scores"]["heads"]
    assert all(0 <= p <= 1 for scores in found.values() for p in scores)
    assert sum(map(sum, found.values())) < 11.5  # 11.7 where they start


def test_half_precision_generates(toy, trained):
    train(toy, "run", *HALF, *drawing(trained, 0.9), updates=8)
    for flags in (["--fp16"], []):
        translations(toy, "run/checkpoint_last.pt", *flags)
