"""Trainings under a mask, as fairseq-train runs them."""

import math
import shutil
import signal
import sys

import pytest
import torch
from toy import (
    PARAMETERS,
    PRECISIONS,
    PRUNABLE,
    assert_pruned,
    assert_same_training,
    call,
    drawing,
    half_precision_trains_on_cpu,
    hypotheses,
    kill_at,
    pretend_cuda,
    same,
)

from fairseq_lottery.formats import load_ticket, read_source, save_ticket, untie
from fairseq_lottery.inference.model_builder import initial_weights
from fairseq_lottery.masks import count_to_prune
from fairseq_lottery.masks.streams import torch_seed
from fairseq_lottery.tickets import DrawPlan, draw

pytestmark = pytest.mark.slow


def test_dense_run_writes_snapshots(toy, dense):
    last = read_source(dense / "checkpoint_last.pt")
    early = read_source(dense / "snapshot_5.safetensors")
    assert (early.update, last.update, early.masters, early.mask) == (5, 20, True, None)
    assert sum(t.numel() for t in early.weights.values()) == PARAMETERS
    assert early.shapes == last.shapes
    assert early.in_file == last.in_file
    assert early.in_file["source"] == early.in_file["target"]
    assert len(early.in_file["source"]) == 60


def test_snapshot_is_what_a_checkpoint_of_that_update_holds(toy):
    toy.train("run", "--snapshot-updates", "12", "--save-interval-updates", 12).ok()
    snapshot = read_source(toy.path("run", "snapshot_12.safetensors"))
    checkpoint = read_source(next(toy.path("run").glob("checkpoint_*_12.pt")))
    assert same(snapshot.weights, checkpoint.weights)


def test_drawn_at_start_is_the_ticket_that_the_command_draws(toy, dense):
    done = toy.train("slt", *drawing(dense, 0.8)).ok()
    plan = DrawPlan(
        str(dense / "checkpoint_last.pt"), str(dense / "snapshot_5.safetensors"), sparsity=0.8
    )
    save_ticket(toy.path("drawn.safetensors"), draw(plan))
    written = toy.path("slt", "ticket.safetensors").read_bytes()
    assert written == toy.path("drawn.safetensors").read_bytes()
    state = toy.load("slt", "checkpoint_last.pt")
    mask = toy.mask("slt", "checkpoint_last.pt")
    assert mask == load_ticket(toy.path("drawn.safetensors")).mask
    assert mask.prunable == PRUNABLE
    for name in mask:
        assert mask.pruned_in(name) == count_to_prune(0.8, mask.size(name))
    assert_pruned(state, mask)
    assert f"sparsity {round(mask.sparsity, 4)}" in done.out
    assert "density_enc_dec 0.2002" in done.out


@pytest.mark.parametrize("reset", ["sign", "keep", "random", "random-sign", "shuffle"])
def test_every_reset_trains(toy, dense, reset):
    toy.train("run", *drawing(dense, 0.9, "--reset", reset)).ok()
    mask = toy.mask("run", "checkpoint_last.pt")
    assert mask.sparsity == pytest.approx(0.9, abs=1e-3)
    assert_pruned(toy.load("run", "checkpoint_last.pt"), mask)


def test_random_reset_is_the_models_own_initialiser(toy, dense):
    toy.train("run", *drawing(dense, 0.5, "--reset", "random", "--draw-seed", 7)).ok()
    values = load_ticket(toy.path("run", "ticket.safetensors")).values
    # fairseq draws q_proj uniformly with Glorot's limit over sqrt(2), and no output bias
    projection = values["encoder.layers.0.self_attn.q_proj.weight"]
    limit = math.sqrt(6 / (32 + 32)) / math.sqrt(2)
    assert 0.98 * limit < projection.abs().max() <= limit
    assert not values["encoder.layers.0.self_attn.out_proj.bias"].any()
    fresh = initial_weights(read_source(dense / "checkpoint_last.pt"), torch_seed("random|7"))
    for name, keep in load_ticket(toy.path("run", "ticket.safetensors")).mask.items():
        assert torch.equal(values[name], fresh[name] * keep)


def test_random_reset_is_not_the_start_of_a_run_of_the_same_seed(toy, dense):
    """The dense run's --seed is 3 too; at equal seeds the two were equal to the bit."""
    toy.train("run", *drawing(dense, 0.5, "--reset", "random", "--draw-seed", 3)).ok()
    ticket = load_ticket(toy.path("run", "ticket.safetensors"))
    start = read_source(dense / "snapshot_0.safetensors").weights
    for name, keep in ticket.mask.items():
        if name in ticket.mask.protected:
            keep = keep.clone()
            keep[ticket.mask.protected[name]] = False
        equal = ticket.values[name][keep] == start[name][keep]
        assert float(equal.float().mean()) < 0.01, name


def test_a_mask_that_keeps_all_changes_nothing(toy, dense):
    toy.train("plain", optimizer="adam", lottery=False).ok()
    done = toy.train("masked", "--prune-to", 0, "--prune-start", 1, "--prune-end", 2).ok()
    plain, masked = (toy.load(run, "checkpoint_last.pt") for run in ("plain", "masked"))
    assert same(untie(plain["model"]), untie(masked["model"]))
    assert same(plain["last_optimizer_state"]["state"], masked["last_optimizer_state"]["state"])
    assert "sparsity 0 " in done.out


def test_magnitude_pruning_reaches_its_target_exactly(toy):
    done = toy.train(
        "mp", "--prune-to", 0.9, "--prune-start", 2, "--prune-end", 12, "--prune-every", 3,
        "--scope", "global", "--validate-interval-updates", 4, "--save-interval-updates", 4,
    ).ok()  # fmt: skip
    expected = {2: 0.0, 5: 0.5913, 8: 0.8424, 11: 0.8991, 12: 0.9}
    for update, sparsity in expected.items():
        count = count_to_prune(0.9 * (1 - (1 - (update - 2) / 10) ** 3), PRUNABLE)
        assert f"pruned at update {update}: {count} of {PRUNABLE}" in done.out
        assert count / PRUNABLE == pytest.approx(sparsity, abs=1e-4)
    mask = toy.mask("mp", "checkpoint_last.pt")
    assert mask.pruned == count_to_prune(0.9, PRUNABLE) == 38_678
    state = toy.load("mp", "checkpoint_last.pt")
    assert_pruned(state, mask)

    # an early checkpoint has its early mask
    def named(update):
        return next(toy.path("mp").glob(f"checkpoint_*_{update}.pt")).name

    assert toy.mask("mp", named("4")).pruned == count_to_prune(0, PRUNABLE)
    assert toy.mask("mp", named("8")).pruned == count_to_prune(0.9 * (1 - 0.4**3), PRUNABLE)


def test_no_checkpoint_is_the_best_while_the_mask_grows(toy):
    pruning = (
        "--prune-to", 0.5, "--prune-start", 0, "--prune-end", 15, "--prune-every", 5,
        "--validate-interval-updates", 4, "--save-interval-updates", 4,
    )  # fmt: skip
    done = toy.train("mp", *pruning, "--patience", 1).ok()
    assert "growing_loss" in done.out
    best = toy.load("mp", "checkpoint_best.pt")
    assert done.out.count("growing_loss") >= 3, "patience does not count meanwhile"
    assert best["optimizer_history"][-1]["num_updates"] >= 15
    assert best["extra_state"]["val_loss"] is not None


def test_pruning_goes_on_from_the_tickets_sparsity(toy, dense):
    done = toy.train(
        "sltmp", *drawing(dense, 0.6), "--prune-to", 0.9, "--prune-start", 0, "--prune-end", 10,
        "--prune-every", 5,
    ).ok()  # fmt: skip
    ticket = load_ticket(toy.path("sltmp", "ticket.safetensors")).mask
    mask = toy.mask("sltmp", "checkpoint_last.pt")
    assert mask.is_subset_of(ticket)
    assert mask.sparsity == pytest.approx(0.9, abs=1e-3)
    assert f"pruned at update 0: {ticket.pruned} of" in done.out


#: each precision and each kind; test_stop_signals.py stops and resumes the other pairs
KILLED_AND_RESUMED = [
    ("ticket", "fp32"), ("pruning", "fp32"), ("pruning", "fp16-flat"), ("pruning", "amp"),
    ("ticket", "fp16-no-flatten"), ("ticket", "fp16-memory-efficient"),
]  # fmt: skip


@pytest.mark.parametrize("kind, precision", KILLED_AND_RESUMED)
def test_resumed_equals_uninterrupted(toy, dense, precision, kind):
    if precision != "fp32" and not half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    flags = [*PRECISIONS[precision], "--snapshot-updates", "12", "--save-interval-updates", 8]
    if kind == "ticket":
        flags += drawing(dense, 0.7)
    else:
        flags += ["--prune-to", 0.8, "--prune-start", 2, "--prune-end", 12, "--prune-every", 4]
    toy.train("whole", *flags, prelude=pretend_cuda, updates=14).ok()
    killed = toy.train("parts", *flags, prelude=lambda: kill_at(8), updates=14)
    assert killed.code == -signal.SIGKILL
    assert toy.path("parts", "checkpoint_1_8.pt").exists()
    toy.train("parts", *flags, prelude=pretend_cuda, updates=14).ok()
    whole, parts = (toy.load(run, "checkpoint_last.pt") for run in ("whole", "parts"))
    assert whole["optimizer_history"][-1]["num_updates"] == 14
    assert_same_training(whole, parts)
    masters = whole["last_optimizer_state"].get("lottery", {}).get("masters")
    assert (masters is not None) == (precision in ("fp16-flat", "fp16-no-flatten"))
    for run in ("whole", "parts"):
        assert_pruned(toy.load(run, "checkpoint_last.pt"), toy.mask(run, "checkpoint_last.pt"))
    snapshots = [toy.path(r, "snapshot_12.safetensors").read_bytes() for r in ("whole", "parts")]
    assert snapshots[0] == snapshots[1]
    mask = toy.mask("whole", "checkpoint_last.pt")
    for name, master in (masters or {}).items():
        if name in mask:
            assert not master[~mask[name]].any()


@pytest.mark.parametrize("flag", ["--reset-optimizer", "--no-save-optimizer-state"])
def test_the_mask_survives(toy, dense, flag):
    toy.train("run", *drawing(dense, 0.8), flag, updates=10).ok()
    before = toy.mask("run", "checkpoint_last.pt")
    toy.train("run", *drawing(dense, 0.8), flag, "--reset-dataloader", updates=10).ok()
    assert toy.mask("run", "checkpoint_last.pt") == before
    assert_pruned(toy.load("run", "checkpoint_last.pt"), before)


def test_a_resumed_run_does_not_open_its_sources(toy, dense):
    source = toy.path("source")
    shutil.copytree(dense, source)
    toy.train("run", *drawing(source, 0.8), updates=10).ok()
    shutil.rmtree(source)
    toy.train("run", *drawing(source, 0.8), updates=20).ok()
    ticket = load_ticket(toy.path("run", "ticket.safetensors"))
    assert toy.mask("run", "checkpoint_last.pt") == ticket.mask


def test_a_dense_checkpoint_is_pruned_further(toy, dense):
    """From a run of plain fairseq, and then from our own, each with a schedule of its own."""
    pruning = ("--prune-start", 2, "--prune-end", 8, "--prune-every", 2, "--prune-to")
    toy.train("plain", optimizer="adam", lottery=False, updates=5).ok()
    first = toy.path("plain", "checkpoint_last.pt")
    toy.train("half", "--finetune-from-model", first, *pruning, 0.5, updates=10).ok()
    half = toy.mask("half", "checkpoint_last.pt")
    second = toy.path("half", "checkpoint_last.pt")
    toy.train("more", "--finetune-from-model", second, *pruning, 0.8, updates=10).ok()
    more = toy.mask("more", "checkpoint_last.pt")
    assert half.sparsity == pytest.approx(0.5, abs=1e-3)
    assert more.sparsity == pytest.approx(0.8, abs=1e-3)
    assert more.is_subset_of(half)


def test_patience_counts_on_in_a_resumed_run(toy):
    """fairseq keeps the count of validations without progress on a function, and forgets it."""
    flags = (
        "--patience", 3, "--lr", 0.3, "--warmup-updates", 1, "--save-interval-updates", 2,
        "--validate-interval-updates", 2, "--prune-to", 0.5, "--prune-end", 2, "--prune-every", 1,
    )  # fmt: skip
    toy.train("whole", *flags, updates=60).ok()
    whole = toy.load("whole", "checkpoint_last.pt")
    stopped = whole["optimizer_history"][-1]["num_updates"]
    counted = whole["task_state"]["lottery"]["patience"]
    assert stopped < 60 and counted["num_runs"] == 3
    assert counted["best"] == whole["extra_state"]["best"]
    # one validation that is no better lies behind it, and two ahead
    killed = toy.train("parts", *flags, updates=60, prelude=lambda: kill_at(stopped - 4))
    assert killed.code == -signal.SIGKILL
    toy.train("parts", *flags, updates=60).ok()
    assert_same_training(whole, toy.load("parts", "checkpoint_last.pt"))


def test_one_shot_pruning_of_a_finetuned_model(toy, dense):
    flags = ("--finetune-from-model", dense / "checkpoint_last.pt", "--prune-to", 0.9)
    toy.train("run", *flags, "--prune-schedule", "one-shot", "--snapshot-updates", "0").ok()
    assert toy.mask("run", "checkpoint_last.pt").sparsity == pytest.approx(0.9, abs=1e-3)
    start = read_source(toy.path("run", "snapshot_0.safetensors"))
    assert start.mask.sparsity == pytest.approx(0.9, abs=1e-3)


def test_a_finetuned_and_pruned_run_resumes(toy, dense):
    flags = (
        "--finetune-from-model", dense / "checkpoint_last.pt", "--prune-to", 0.9,
        "--prune-start", 2, "--prune-end", 14, "--prune-every", 3, "--save-interval-updates", 8,
    )  # fmt: skip
    toy.train("whole", *flags).ok()
    assert toy.train("parts", *flags, prelude=lambda: kill_at(8)).code == -signal.SIGKILL
    toy.train("parts", *flags).ok()
    assert_same_training(*(toy.load(run, "checkpoint_last.pt") for run in ("whole", "parts")))


def test_a_growing_mask_goes_on_without_optimizer_state(toy):
    flags = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 12, "--prune-every", 2)
    flags += ("--no-save-optimizer-state", "--save-interval-updates", 6)
    toy.train("run", *flags, prelude=lambda: kill_at(6))
    before = toy.mask("run", "checkpoint_last.pt")
    toy.train("run", *flags, "--reset-dataloader").ok()
    after = toy.mask("run", "checkpoint_last.pt")
    assert 0 < before.sparsity < after.sparsity == pytest.approx(0.8, abs=1e-3)
    assert after.is_subset_of(before)


def test_a_finished_run_is_pruned_further_and_its_best_is_forgotten(toy):
    every = ("--prune-every", 2, "--validate-interval-updates", 4, "--save-interval-updates", 4)
    first = ("--prune-to", 0.5, "--prune-start", 2, "--prune-end", 6)
    toy.train("run", *first, *every, updates=8).ok()
    then = ("--prune-to", 0.98, "--prune-start", 10, "--prune-end", 16)
    toy.train("run", *then, *every, updates=20).ok()
    best = toy.mask("run", "checkpoint_best.pt")
    assert best.sparsity == pytest.approx(0.98, abs=1e-3)


def test_a_global_ticket_grows_globally_only(toy, dense):
    ticket = drawing(dense, 0.6, "--scope", "global")
    toy.train("run", *ticket, updates=1).ok()
    path = toy.path("run", "ticket.safetensors")
    pruning = ("--prune-to", 0.9, "--prune-start", 2, "--prune-end", 12, "--prune-every", 5)
    done = toy.train("layer", "--ticket", path, *pruning)
    assert done.code == 2 and "set --scope global" in done.out
    done = toy.train("global", "--ticket", path, *pruning, "--scope", "global").ok()
    assert f"pruned at update 2: {count_to_prune(0.6, PRUNABLE)} of" in done.out
    assert toy.mask("global", "checkpoint_last.pt").pruned == count_to_prune(0.9, PRUNABLE)


def test_two_of_four_are_drawn_at_the_start_and_stay(toy, dense):
    """No --sparsity: the pattern says it. All rows have 32 or 64 weights."""
    source = ("--mask-from", dense / "checkpoint_last.pt", "--scope", "2:4")
    toy.train("run", *source, "--prunable", "no-embeddings", updates=5).ok()
    toy.train("run", *source, "--prunable", "no-embeddings", updates=8).ok()
    mask = toy.mask("run", "checkpoint_last.pt")
    assert mask.pruned * 2 == mask.prunable == PRUNABLE - 63 * 32
    assert all((keep.reshape(-1, 4).sum(1) == 2).all() for keep in mask.values())
    assert_pruned(toy.load("run", "checkpoint_last.pt"), mask)
    record = load_ticket(toy.path("run", "ticket.safetensors")).record
    assert (record["scope"], record["asked"]) == ("2:4", 0.5)
    assert "|scope:2:4|sparsity:0.5000|" in record["signature"]


def test_gradient_accumulation_and_other_models(toy):
    """Two batches an update; untied embeddings; pre-norm; learned positions."""
    pruning = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 8, "--prune-every", 2)
    arguments = toy.arguments("run", *pruning, "--update-freq", 2, updates=10)
    arguments.remove("--share-all-embeddings")
    more = ["--encoder-normalize-before", "--decoder-normalize-before", "--encoder-learned-pos"]
    call("fairseq_cli.train", [*arguments, *more], toy.folder).ok()
    mask = toy.mask("run", "checkpoint_last.pt")
    vocabulary = {n: mask.size(n) for n in mask if "embed_tokens" in n or "output" in n}
    assert vocabulary == {
        "encoder.embed_tokens.weight": 63 * 32,
        "decoder.embed_tokens.weight": 63 * 32,
        "decoder.output_projection.weight": 64 * 32,
    }
    assert_pruned(toy.load("run", "checkpoint_last.pt"), mask)


@pytest.mark.parametrize("moments", ["fresh", "keep"])
def test_counter_rewind_continues_the_schedule(toy, dense, moments):
    flags = ["--reset", "keep", "--update-counter", "rewind", "--moments", moments, "--store-ema"]
    done = toy.train("run", *drawing(dense, 0.5, *flags), "--snapshot-updates", "6").ok()
    state = toy.load("run", "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 20
    assert "@ 5 updates" in done.out
    steps = {entry["step"] for entry in state["last_optimizer_state"]["state"].values()}
    assert steps == ({15} if moments == "fresh" else {35})
    # one update away from the survivors of the trained weights
    first = read_source(toy.path("run", "snapshot_6.safetensors")).weights
    kept = load_ticket(toy.path("run", "ticket.safetensors")).values
    moved = max(float((first[name] - kept[name]).abs().max()) for name in kept)
    assert 0 < moved < 0.01


def test_ema_is_pruned_with_the_model(toy):
    flags = ("--store-ema", "--ema-decay", 0.9, "--prune-to", 0.8, "--prune-start", 2)
    toy.train("run", *flags, "--prune-end", 10, "--prune-every", 4).ok()
    mask = toy.mask("run", "checkpoint_last.pt")
    assert_pruned({"model": toy.load("run", "checkpoint_last.pt")["extra_state"]["ema"]}, mask)


def test_generate_translates_every_sentence(toy, dense):
    done = toy.generate(dense / "checkpoint_last.pt").ok()
    assert sorted(hypotheses(done)) == list(range(50))
    assert "would drop up to 2 of 50 sentences" in done.out


def test_exported_checkpoint_names_nothing_of_the_plugin(toy, dense):
    toy.train("slt", *drawing(dense, 0.8)).ok()
    from fairseq_lottery.export.checkpoint_forms import export

    export(toy.path("slt", "checkpoint_last.pt"), toy.path("plain.pt"))
    state = toy.load("plain.pt")
    assert state["cfg"]["task"]["_name"] == "translation"
    assert state["cfg"]["optimizer"]["_name"] == "adam"
    assert state["last_optimizer_state"] is None
    assert not {"ticket", "prune_to", "mask_from"} & set(state["cfg"]["task"])


def test_a_users_own_user_dir_may_import_this_one(toy, dense):
    own = toy.path("my_user_dir")
    own.mkdir()
    own.joinpath("__init__.py").write_text("import fairseq_lottery\n")
    arguments = toy.arguments("run", *drawing(dense, 0.8))
    arguments[arguments.index("--user-dir") + 1] = own
    call("fairseq_cli.train", arguments, toy.folder).ok()
    assert toy.mask("run", "checkpoint_last.pt").sparsity == pytest.approx(0.8, abs=1e-3)


def test_a_users_score_sees_gradients_and_resumes(toy):
    own = toy.path("own")
    own.mkdir()
    own.joinpath("my_scores.py").write_text(
        "from fairseq_lottery.masks import needs\n\n"
        "@needs('gradient')\n"
        "def taylor(given):\n"
        "    assert given.gradient.any()\n"
        "    return (given.trained * given.gradient).abs()\n"
    )
    flags = (
        "--prune-to", 0.7, "--prune-start", 3, "--prune-end", 15, "--prune-every", 6,
        "--score", "my_scores:taylor", "--save-interval-updates", 7,
    )  # fmt: skip

    def train(save_dir, kill=None):
        def prelude():
            sys.path.insert(0, str(own))
            if kill is not None:
                kill_at(kill)

        return toy.train(save_dir, *flags, prelude=prelude)

    train("whole").ok()
    assert train("parts", kill=7).code == -signal.SIGKILL
    train("parts").ok()
    whole, parts = (toy.load(run, "checkpoint_last.pt") for run in ("whole", "parts"))
    assert_same_training(whole, parts)
    assert toy.mask("whole", "checkpoint_last.pt").sparsity == pytest.approx(0.7, abs=1e-3)
