"""fairseq's sentence_prediction through all of it; the head belongs to its task alone."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import toy
from labelled import HEAD, KINDS, Runs, encoder_of, head_of

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source
from fairseq_lottery.formats.mask_state import prunable_survivors
from fairseq_lottery.masks import count_to_prune
from fairseq_lottery.masks.streams import torch_seed

pytest.importorskip("fairseq")

from fairseq.models.roberta.model import RobertaClassificationHead

pytestmark = pytest.mark.slow

EMA = ["--store-ema", "--ema-decay", 0.6]
#: from the 50 % of the ticket, over the end of the first epoch, which has 13 batches
PRUNE = "--prune-to 0.8 --prune-start 6 --prune-end 18 --prune-every 6".split()
DUE = {update: 0.5 if update < 12 else 0.7625 if update < 18 else 0.8 for update in range(1, 21)}
#: ways to train: number of processes, and flags
WAYS = {
    "two-batches": (1, ["--update-freq", 2, *EMA]),
    "fp16": (1, [*toy.HALF, "--memory-efficient-fp16", *EMA]),
    "two-processes": (2, ["--update-freq", 2]),
}
@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A pre-training; dense trainings of two kinds of labels; a ticket of the pre-trained model."""
    runs = Runs(tmp_path_factory.mktemp("sentences"))
    runs.train("text", "pretrained", "--snapshot-updates", "0,5").ok()
    for kind in ("two", "rated"):
        runs.train(kind, kind + "-dense", "--snapshot-updates", "0,5").ok()
    runs.draw("ticket.safetensors", "--mask-from", "pretrained/checkpoint_last.pt",
              "--sparsity", 0.5)  # fmt: skip
    return runs


def own_head(seed, classes):
    """fairseq's head with the values of a seed, built without this package's task."""
    with torch.random.fork_rng():
        torch.manual_seed(torch_seed(f"head|{seed}"))
        head = RobertaClassificationHead(32, 32, classes, "tanh", 0.0)
    return {HEAD + name: value for name, value in head.state_dict().items()}


# --- start values of the head ------------------------------------------------------------------


def test_the_head_has_a_seed_of_its_own(runs):
    """It is --seed if none is given; other draws and the encoder do not change it."""
    default = runs.start("two", "head-default")
    other_run = runs.start("two", "head-other-run", "--seed", 5, "--head-seed", 3)
    other_head = runs.start("two", "head-other", "--head-seed", 4)
    assert toy.same(head_of(default), own_head(3, 2))
    assert toy.same(head_of(other_run), own_head(3, 2))
    assert toy.same(head_of(other_head), own_head(4, 2))
    table = f"{HEAD}dense.weight"
    assert not torch.equal(head_of(default)[table], head_of(other_head)[table])
    assert toy.same(encoder_of(default), encoder_of(other_head))
    assert not toy.same(encoder_of(default), encoder_of(other_run))


@pytest.mark.parametrize("reset", ["rewind", "random", "shuffle-layers", "sign", "keep"])
def test_a_ticket_brings_no_head_whatever_it_resets_to(runs, reset):
    """Tickets of two draws start from the same head."""
    name = f"{reset}.safetensors"
    flags = ["--reset", reset, "--sparsity", 0.5, "--seed", 9]
    runs.draw(name, "--mask-from", "two-dense/checkpoint_last.pt", *flags)
    state = runs.start("two", f"head-{reset}", "--ticket", name, "--head-seed", 8)
    assert toy.same(head_of(state), own_head(8, 2))
    assert not any(HEAD in key for key in read_source(runs.path(name)).weights)


def test_a_model_to_start_from_brings_its_head_unless_a_head_seed_is_given(runs):
    for number, more in enumerate(
        (
            ["--finetune-from-model", runs.path("two-dense/checkpoint_last.pt")],
            [
                *("--restore-file", runs.path("two-dense/checkpoint_last.pt")),
                *("--reset-optimizer", "--reset-dataloader", "--reset-meters"),
            ],
        )
    ):
        kept = runs.start("two", f"tuned-{number}", *more)
        fresh = runs.start("two", f"fresh-{number}", *more, "--head-seed", 6)
        assert toy.same(kept["model"], runs.load("two-dense")["model"])
        assert toy.same(head_of(fresh), own_head(6, 2))
        assert toy.same(encoder_of(fresh), encoder_of(kept))


@pytest.mark.parametrize("flags", [[*toy.HALF, "--memory-efficient-fp16"], toy.HALF])
def test_a_head_seed_replaces_the_head_of_a_half_precision_model_too(runs, flags):
    if not toy.half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    name = f"half-{len(flags)}"
    more = ["--finetune-from-model", runs.path("two-dense/checkpoint_last.pt"), "--head-seed", 6]
    state = runs.start("two", name, *flags, *more)
    assert toy.same(head_of(state), {k: v.half().float() for k, v in own_head(6, 2).items()})


def test_pretrained_recipes_of_fairseq_start_from_the_encoder(runs):
    """As in RoBERTa's recipes: a checkpoint of masked_lm, and a head of any size."""
    pretrained = runs.load("pretrained")
    resets = ["--reset-optimizer", "--reset-dataloader", "--reset-meters"]
    last = runs.path("pretrained/checkpoint_last.pt")
    for number, more in enumerate(
        (["--restore-file", last, *resets], ["--finetune-from-model", last])
    ):
        state = runs.start("rated", f"recipe-{number}", *more)
        assert toy.same(encoder_of(state), pretrained["model"])
        assert toy.same(head_of(state), own_head(3, 1))


# --- masks, tickets and trainings --------------------------------------------------------------


def test_no_matrix_of_the_head_is_prunable(runs):
    for prunable in ("all-matrices", "no-embeddings"):
        ticket = runs.draw(
            f"{prunable}.safetensors", "--mask-from", "two-dense/checkpoint_last.pt",
            "--sparsity", 0.5, "--prunable", prunable,
        )  # fmt: skip
        assert not any(HEAD in name for name in (*ticket.mask, *ticket.values))
    assert ticket.mask.prunable == 2 * (4 * 32 * 32 + 2 * 32 * 64) + 32 * 32
    for kind in ("two", "rated"):
        source = read_source(runs.path(f"{kind}-dense/snapshot_5.safetensors"))
        assert not any(HEAD in name for name in source.weights)
        assert main(["inspect", runs.path(f"{kind}-dense"), "--check"]) == 0


#: where the mask and where the weights of a ticket are from, and what it trains
CROSSINGS = {
    "pretrained to classes": ("pretrained", "pretrained/snapshot_5.safetensors", "three"),
    "classes to pretrained": ("two-dense", "two-dense/snapshot_5.safetensors", "text"),
    "numbers to classes": ("rated-dense", "rated-dense/checkpoint_last.pt", "two"),
    "numbers on pretrained": ("rated-dense", "pretrained/checkpoint_last.pt", "two"),
    "classes on numbers": ("two-dense", "rated-dense/snapshot_0.safetensors", "three"),
}


@pytest.mark.parametrize("name", CROSSINGS)
def test_a_ticket_of_one_task_trains_another(runs, name):
    """The values are those of --start-from, and the mask that of --mask-from alone."""
    mask_from, start_from, kind = CROSSINGS[name]
    file = name.replace(" ", "-") + ".safetensors"
    ticket = runs.draw(
        file, "--mask-from", f"{mask_from}/checkpoint_last.pt", "--start-from", start_from,
        "--sparsity", 0.5,
    )  # fmt: skip
    trained = read_source(runs.path(mask_from, "checkpoint_last.pt")).weights
    for matrix, keep in ticket.mask.items():
        kept = prunable_survivors(ticket.mask, matrix)
        assert trained[matrix].abs()[kept].min() >= trained[matrix].abs()[~keep].max(), matrix
    start = read_source(runs.path(start_from)).weights
    assert all(
        torch.equal(ticket.values[n], start[n] * ticket.mask[n] if n in ticket.mask else start[n])
        for n in start
    )
    save_dir = file.split(".")[0]
    state = runs.start(kind, save_dir, "--ticket", file)
    weights = read_source(runs.path(save_dir, "checkpoint_last.pt")).weights
    assert toy.same(weights, ticket.values)
    if kind in KINDS:
        assert toy.same(head_of(state), own_head(3, int(KINDS[kind][1])))
    runs.train(kind, f"{save_dir}-trained", "--ticket", file, updates=5).ok()
    state = runs.load(f"{save_dir}-trained")
    toy.assert_pruned(state, ticket.mask)
    assert all(value.ne(0).float().mean() > 0.95 for value in head_of(state).values())


def test_moments_of_another_task_leave_those_of_the_head_fresh(runs):
    ticket = runs.draw(
        "moments.safetensors", "--mask-from", "rated-dense/checkpoint_last.pt", "--sparsity", 0.5,
        "--reset", "keep", "--moments", "keep",
    )  # fmt: skip
    assert not any(HEAD in name for by_name in ticket.moments.values() for name in by_name)
    runs.train("two", "moments", "--ticket", "moments.safetensors", updates=1).ok()
    optimizer = runs.load("moments")["last_optimizer_state"]
    names = optimizer["lottery"]["names"]
    steps = {names[index]: int(entry["step"]) for index, entry in optimizer["state"].items()}
    assert set(names) - set(steps) == {n for n in names if "lm_head" in n}, "it has no gradient"
    assert {steps[name] for name in steps if HEAD in name} == {1}
    assert {steps[name] for name in steps if HEAD not in name} == {21}


def train_noted(runs, save_dir, flags, processes):
    """Train 20 updates; returns what every process noted of its mask after each."""
    from training.test_masked_lm import note_masks

    port, ranks = toy.free_port(), []
    for rank in range(processes):
        shared = [*toy.sharing(port, rank), "--ddp-backend", "legacy_ddp"] if processes > 1 else []
        line = runs.flags("three", save_dir, *flags, *shared)
        notes = runs.path(f"{save_dir}-{rank}.jsonl")
        ranks.append(
            toy.start("fairseq_cli.train", line, runs.folder, prelude=lambda n=notes: note_masks(n))
        )
    logs = [toy.wait(rank).ok().out for rank in ranks]
    notes = [Path(runs.path(f"{save_dir}-{rank}.jsonl")).read_text() for rank in range(processes)]
    assert len(set(notes)) == 1, "the processes have other masks"
    return [json.loads(line) for line in notes[0].splitlines()], logs[0]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_train_prunes_on_and_leaves_the_head(runs, way):
    if way == "fp16" and not toy.half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    processes, flags = WAYS[way]
    ticket = load_ticket(runs.path("ticket.safetensors"))
    more = ["--ticket", "ticket.safetensors", *PRUNE, *flags]
    notes, log = train_noted(runs, way, more, processes)
    size = {name: ticket.mask.size(name) for name in ticket.mask}
    assert [[update, counts] for update, _, counts in notes] == [
        [update, {name: count_to_prune(share, size[name]) for name in size}]
        for update, share in DUE.items()
    ]
    state = runs.load(way)
    mask = read_source(runs.path(way, "checkpoint_last.pt")).mask
    assert mask.is_subset_of(ticket.mask) and mask.digest() == notes[-1][1]
    toy.assert_pruned(state, mask)
    if "ema" in state["extra_state"]:
        toy.assert_pruned({"model": state["extra_state"]["ema"]}, mask)
    assert all(value.ne(0).float().mean() > 0.9 for value in head_of(state).values())
    assert main(["inspect", "--check", runs.path(way)]) == 0
    line = re.findall(r"valid on 'valid' subset .*", log)[-1]
    assert {"accuracy", "f1_macro", "mcc", "sparsity"} <= set(re.findall(r"\| (\w+) ", line))


@pytest.mark.parametrize("update", [8, 17])
def test_a_killed_run_goes_on_bit_equal(runs, update):
    """Within the schedule, in the first and in the second epoch."""
    flags = ["--ticket", "ticket.safetensors", *PRUNE, "--save-interval-updates", 4, *EMA]
    flags += ["--update-freq", 2, "--head-seed", 11]
    if not Path(runs.path("whole")).exists():
        runs.train("rated", "whole", *flags).ok()
    killed = f"killed-{update}"
    done = runs.train("rated", killed, *flags, prelude=lambda: toy.kill_at(update))
    assert done.code == -9, done.out[-2000:]
    other = runs.train("rated", killed, *flags[:-1], 12)
    assert other.code == 2 and "is from a run with --head-seed 11, not 12" in other.out
    without = runs.train("rated", killed, *flags[:-2])
    assert without.code == 2 and "is from a run with --head-seed 11; give it again" in without.out
    runs.train("rated", killed, *flags).ok()
    toy.assert_same_training(runs.load("whole"), runs.load(killed))


def test_flags_of_a_head_that_cannot_apply_are_refused(runs):
    done = runs.train("text", "none", "--head-seed", 4)
    assert done.code == 2
    assert "--head-seed 4 initialises the head of a task, but masked_lm has none" in done.out
    done = runs.train("two", "negative", "--head-seed", -1)
    assert done.code == 2 and "--head-seed -1 is out of range" in done.out


# --- other commands ----------------------------------------------------------------------------


def test_files_of_a_classifier_are_exported_averaged_and_compared(runs, capsys):
    runs.train("two", "pruned", "--ticket", "ticket.safetensors", "--save-interval-updates", 5,
               updates=10).ok()  # fmt: skip
    last = runs.path("pruned/checkpoint_last.pt")
    state = read_checkpoint(last)
    for out, line in (
        ("plain.pt", ["export", last]),
        ("small.safetensors", ["export", last, "--to", "compact"]),
        ("back.pt", ["export", runs.path("small.safetensors")]),
    ):
        assert main([*line, "--out", runs.path(out)]) == 0
    plain, back = (read_checkpoint(runs.path(name)) for name in ("plain.pt", "back.pt"))
    assert plain["cfg"]["task"]["_name"] == "sentence_prediction"
    assert plain["cfg"]["criterion"]["_name"] == "sentence_prediction"
    assert not {"head_seed", "ticket"} & set(plain["cfg"]["task"])
    assert toy.same(head_of(plain), head_of(state)) and toy.same(back["model"], plain["model"])
    assert main(["average", runs.path("pruned"), "--last", "2", "--out", runs.path("mean.pt")]) == 0
    both = [runs.load("pruned", f"checkpoint_1_{update}.pt") for update in (5, 10)]
    mean = read_checkpoint(runs.path("mean.pt"))
    for name, value in head_of(mean).items():
        expected = (both[0]["model"][name].double() + both[1]["model"][name].double()) / 2
        assert torch.equal(value, expected.float())
    capsys.readouterr()
    assert main(["compare", last, runs.path("ticket.safetensors")]) == 0
    assert "the two masks are the same" in capsys.readouterr().out


def test_importance_and_losses_are_measured_with_the_head(runs, capsys):
    """By fairseq's own loss on the validation set, with and without one head of the encoder."""
    done = runs.train("rated", "measured", updates=12).ok()
    logged = float(re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", done.out)[-1])
    last, out = runs.path("measured/checkpoint_last.pt"), runs.path("effects.json")
    assert main(["heads", "ablate", last, "--out", out]) == 0
    loss = float(re.findall(r"loss of the full model: ([\d.]+);", capsys.readouterr().out)[0])
    assert loss / math.log(2) == pytest.approx(logged, abs=6e-4)
    changes = [runs.path("rated-dense/snapshot_0.safetensors"), last]
    changed = runs.path("changes.json")
    line = ["heads", "changes", *changes, "--data", runs.path("rated"), "--out", changed]
    assert main(line) == 0


def test_a_mask_of_another_encoder_is_refused_in_one_sentence(runs):
    flags = ["--encoder-ffn-embed-dim", 48, "--ticket", "ticket.safetensors"]
    done = runs.train("two", "other-shape", *flags)
    assert done.code == 2
    assert "the ticket has 64 FFN units per encoder layer, but the model has 48" in done.out
