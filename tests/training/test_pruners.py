"""Masks that a pruner changes during training, in this process and by fairseq's commands."""

from functools import partial

import pytest

pytest.importorskip("fairseq")

import torch
from matrix import pruners
from matrix.training import ON_CPU
from toy import assert_pruned, assert_same_training, drawing, hypotheses, kill_at, same, train_two

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint, read_source, untie
from fairseq_lottery.masks import Mask
from fairseq_lottery.tickets.folder_check import check_folder

SET = (
    "--pruner", "set", "--prune-to", 0.8, "--prune-start", 0, "--prune-end", 12, "--prune-every", 2,
)  # fmt: skip
LAST = "checkpoint_last.pt"


def own(name, *flags):
    return (*SET[2:], "--pruner", f"matrix.pruners:{name}", *flags)


@pytest.fixture
def train(trained):
    return partial(trained, to=8, updates=12)


def stored(tmp_path, folder="run"):
    return read_checkpoint(tmp_path / folder / LAST)["task_state"]["lottery"]


def test_every_validation_counts(train):
    run = train(*SET, to=2).task.run
    stats = {"num_updates": 2, "loss": 1.5}
    run.hide_under_pruned(stats)
    assert stats["loss"] == 1.5


def test_masks_of_set_depend_on_the_draws_seed(train):
    """The first one, and what is regrown, in trainings of the same weights."""
    one, other = (
        {u: train(*SET, "--draw-seed", seed, folder=f"{seed}", to=u).task.run.mask for u in (1, 2)}
        for seed in (1, 2)
    )
    for update in (1, 2):
        assert one[update] != other[update]
        assert one[update].pruned == other[update].pruned
    regrown, other = ({n: after[2][n] & ~after[1][n] for n in after[1]} for after in (one, other))
    assert any(entries.any() for entries in regrown.values())
    assert any(not regrown[name].equal(other[name]) for name in regrown)


def test_set_is_not_changed_in_the_middle(train, refused, tmp_path):
    train(*SET, to=4)
    assert stored(tmp_path)["growth"]["pruner"] == "set"
    refused("was pruning to 0.8 until update 12; give its --prune flags again")
    refused("the run was pruning by set to 0.8 from update 0 to 12", *SET, "--prune-fraction", 0.2)
    refused("was pruning by set to 0.8 from update 0 to 12, every 2", *SET, "--pruner", "gradual")
    refused("was pruning with --draw-seed 1, not 2", *SET, "--draw-seed", 2)
    assert train(*SET, to=8).update == 8


def test_gradual_is_not_followed_by_set_before_its_end(train, refused, tmp_path):
    gradual = ("--prune-to", 0.8, "--prune-end", 6, "--prune-every", 2)
    train(*gradual, to=4)
    assert "pruner" not in stored(tmp_path)["growth"], "as versions before named none"
    refused("was pruning to 0.8 from update 0 to 6, every 2, cubic; finish", *SET)
    before = train(*gradual, to=6).task.run.mask
    after = (*SET, "--prune-start", 6)
    sentence = "--pruner set starts at sparsity 0.7, but the run starts at 0.8;"
    refused(sentence, *after, "--prune-to", 0.7)
    then = train(*after, to=12).task.run.mask
    assert then.pruned == before.pruned and then != before
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


def test_a_dense_run_goes_on_under_a_random_mask(train, tmp_path):
    train(to=4)
    flags = (*SET, "--prune-start", 4, "--snapshot-updates", "4")
    training = train(*flags, to=5)
    mask = training.task.run.mask
    assert mask.sparsity == pytest.approx(0.8, abs=1e-3)
    assert all(abs(mask.sparsity_of(name) - 0.8) < 0.01 for name in mask)
    assert stored(tmp_path)["growth"]["start"] == 4


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ((*SET, "--prune-schedule", "linear"), "--prune-schedule is not an option of --pruner set"),
        ((*SET[2:], "--prune-fraction", 0.2), "--prune-fraction is not an option of --pruner grad"),
        (("--pruner", "set"), "--pruner applies"),
        ((*SET, "--prune-fraction", 2), "--prune-fraction 2 is outside (0, 1]"),
        ((*SET, "--pruner", "snfs"), "there is no pruner 'snfs'; choose one of gradual, "),
        ((*SET, "--prune-gradient-updates", 1), "--prune-gradient-updates is not an option of"),
        ((*SET, "--score", "distance"), "--score distance needs start weights"),
        ((*SET, "--score", "random"), "--score random ranks"),
        ((*SET, "--prune-every", 12), "--prune-every 12 is not below the 12 updates from"),
        (own("OfGradients", "--amp"), "OfGradients sums gradients"),
    ],
)
def test_refused(refused, flags, sentence):
    refused(sentence, *flags)


def test_a_pruner_of_gradients_waits_for_the_first(refused, train, monkeypatch):
    monkeypatch.setattr(pruners.Counting, "needs", ("dense_gradient",), raising=False)
    flags = own("Counting")
    refused("Counting needs gradients, but there are none at update 0", *flags)
    assert train(*flags, "--prune-start", 1, to=2).task.run.mask.pruned == 0


# --- gradients before the first backward pass ----------------------------------------------

#: a score of gradients that is asked for at --prune-start
ONCE = (
    *("--score", "matrix.scores:taylor", "--prune-to", 0.8, "--prune-end", 12),
    *("--prune-schedule", "one-shot"),
)
NONE_YET = "--score matrix.scores:taylor needs gradients, but there are none at update {}, where"


def test_a_score_of_gradients_waits_for_the_first(train, refused, tmp_path):
    """In a resumed run, from another run's checkpoint, and where the counter starts again."""
    train(to=4)
    last = tmp_path / "run" / LAST
    refused(NONE_YET.format(4), *ONCE, "--prune-start", 4)
    refused(NONE_YET.format(0), *ONCE, "--prune-start", 0, "--reset-optimizer")
    for flag, update in (("--finetune-from-model", 0), ("--restore-file", 4)):
        flags = (*ONCE, "--prune-start", update, flag, last)
        refused(NONE_YET.format(update), *flags, folder="other")
    assert train(*ONCE, "--prune-start", 5, to=5).task.run.mask.pruned > 0


def test_a_score_of_gradients_waits_under_a_counter_that_rewinds(train, refused, tmp_path):
    """The counter starts at the ticket's update, and there was no backward pass."""
    train("--snapshot-updates", "2,4", to=4, folder="dense")
    weights, start = (str(tmp_path / "dense" / f"snapshot_{u}.safetensors") for u in (4, 2))
    out = str(tmp_path / "ticket.safetensors")
    line = ["ticket", "--mask-from", weights, "--start-from", start, "--sparsity", "0.5"]
    assert main([*line, "--update-counter", "rewind", "--out", out]) == 0
    assert main([*line, "--score", "matrix.scores:taylor", "--out", f"{out}.other"]) == 2
    flags = ("--ticket", out, *ONCE)
    refused(NONE_YET.format(2), *flags, "--prune-start", 2)
    refused("--prune-start 0 is before update 2", *flags, "--prune-start", 0)
    assert not list((tmp_path / "run").iterdir())
    training = train(*flags, "--prune-start", 3, to=4)
    assert training.task.run.mask.sparsity == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("what", ["scores", "gradients", "dense_gradients"])
def test_a_first_mask_reads_no_gradients(train, refused, tmp_path, monkeypatch, what):
    """A pruner of a user's own that is not due, and looks at zeros all the same."""

    def read(self, given):
        return given.mask if getattr(given, what)[next(iter(given.mask))].any() else None

    monkeypatch.setattr(pruners.OfGradients, "first_mask", read)
    flags = own("OfGradients", "--score", "matrix.scores:taylor")
    refused("are read at update 0, before the first backward pass", *flags)
    assert not list((tmp_path / "run").iterdir())


# --- a pruner of a user's own --------------------------------------------------------------


def test_a_state_that_changes_is_resumed(train, tmp_path):
    flags = own("Counting")
    whole = train(*flags, to=12, folder="whole").task.run
    assert stored(tmp_path, "whole")["growth"]["changes"] == 7
    train(*flags, to=5)
    assert stored(tmp_path)["growth"]["changes"] == 3
    assert train(*flags, to=12).task.run.mask == whole.mask
    assert same(stored(tmp_path)["growth"], stored(tmp_path, "whole")["growth"])
    assert [one.problems for one in check_folder(tmp_path / "run")] == [()]


def test_another_source_is_refused_in_the_middle(train, refused, monkeypatch):
    from fairseq_lottery.training.start import resumed_pruner

    train(*own("Counting"), to=3)
    find = resumed_pruner.find_pruner
    monkeypatch.setattr(resumed_pruner, "find_pruner", lambda name: (find(name)[0], "another"))
    refused("the source of the pruner matrix.pruners:Counting", *own("Counting"))


@pytest.mark.parametrize("precision", [p for p in ON_CPU if p in ("fp32", "fp16 flat", "bf16")])
def test_start_weights_are_kept_for_a_pruner_that_needs_them(train, refused, tmp_path, precision):
    flags = own("ToStart")
    whole = train(*flags, folder="whole", precision=precision)
    parts = train(*flags, to=3, precision=precision)
    start = parts.task.run._memory._start_weights
    parts = train(*flags, precision=precision)
    assert same(whole.state()["model"], parts.state()["model"])
    assert same(whole.state()["task"], parts.state()["task"])
    assert same(start, stored(tmp_path)["start_weights"])
    first = train(*own("ToStart"), "--snapshot-updates", "0", folder="0", precision=precision, to=1)
    kept = read_source(tmp_path / "0" / "snapshot_0.safetensors")
    assert not first.task.run._memory._start_weights.keys() - set(kept.mask)
    for name, keep in kept.mask.items():
        assert torch.equal(start[name][keep], kept.weights[name][keep]), name
        assert start[name][~keep].any(), "from before the first mask"
    train(folder="dense", to=2, precision=precision)
    flags = (*own("ToStart"), "--prune-start", 2)
    refused("ToStart needs start weights, which", *flags, folder="dense", precision=precision)


def fault(kind):
    def mask_of(change):
        return lambda self, given: change(given.mask)

    other = {n: torch.ones(2, 2, dtype=torch.bool) for n in ("a", "b")}
    return {
        "fails": (lambda self, given: 1 / 0, "failed with ZeroDivisionError: division by zero"),
        "no mask": (mask_of(lambda mask: None), "returned a NoneType, expected a Mask"),
        "other matrices": (mask_of(lambda mask: Mask(other)), "returned a mask of other matrices"),
        "another sparsity": (
            mask_of(lambda m: Mask({n: torch.ones_like(k) for n, k in m.items()}, m.protected)),
            "returned a mask with 0 of 2672 weights pruned, expected sparsity 0.7",
        ),
        "regrows": (
            mask_of(lambda m: Mask({n: k.flip(0) if n not in m.protected else k
                                    for n, k in m.items()}, m.protected)),
            "regrew weights; set its only_shrinks to False",
        ),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["fails", "no mask", "other matrices", "another sparsity", "regrows"]
)
def test_what_a_pruner_of_a_users_own_breaks_is_one_sentence(
    train, refused, tmp_path, monkeypatch, kind
):
    train(*own("Counting"), to=5)
    before = (tmp_path / "run" / LAST).read_bytes()
    change, sentence = fault(kind)
    monkeypatch.setattr(pruners.Counting, "next_mask", change)
    if kind == "regrows":
        mask = read_source(tmp_path / "run" / LAST).mask
        monkeypatch.setattr(pruners.Counting, "sparsity_at", lambda self, update: None)
        assert mask.pruned
    refused("pruner matrix.pruners:Counting at update 6 " + sentence, *own("Counting"))
    assert (tmp_path / "run" / LAST).read_bytes() == before


@pytest.mark.parametrize("method", ["is_due", "is_active", "is_at_target", "sparsity_at"])
def test_a_method_of_a_users_own_that_fails_is_one_sentence(train, refused, monkeypatch, method):
    monkeypatch.setattr(pruners.OfGradients, method, lambda self, update: 1 / 0)
    sentence = "pruner matrix.pruners:OfGradients at update 0 failed with ZeroDivisionError"
    if method == "is_at_target":
        run = train(*own("OfGradients"), to=2).task.run
        with pytest.raises(LotteryError, match="at update 2 failed with ZeroDivisionError"):
            run.hide_under_pruned({"num_updates": 2, "loss": 1.5})
        return
    refused(sentence, *own("OfGradients"))


@pytest.mark.parametrize("due", ["0.8", float("nan"), -1, 2.0])
def test_a_sparsity_that_is_no_share_is_one_sentence(refused, monkeypatch, due):
    monkeypatch.setattr(pruners.OneLine, "sparsity_at", lambda self, update: due)
    refused(f"at update 0 has the sparsity {due!r}, expected a share", *own("OneLine"))


def test_a_state_that_no_checkpoint_stores_is_one_sentence(train, capsys, monkeypatch):
    training = train(*own("Counting"), to=2)
    training.task.run.pruning.pruner.changes = 1.5
    with pytest.raises(SystemExit) as stopped:
        training.task.state_dict()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("fairseq-lottery: field changes of pruner")


def test_a_pruner_of_one_line_starts_later(train):
    """Before its start a mask has any sparsity, also that of a ticket."""
    flags = own("OneLine", "--prune-start", 3)
    assert train(*flags, to=2).task.run.mask.pruned == 0
    assert round(train(*flags, to=3).task.run.mask.sparsity, 2) == 0.8


# --- what is summed ------------------------------------------------------------------------


def sums(training):
    return training.task.run._tensors.by_name(training.task.run._masked._gradients)


def test_dense_gradients_are_as_the_optimizer_sees_them(train):
    """Unscaled, clipped, averaged over the batches of an update, in every layout alike."""
    flags = own("OfGradients", "--prune-every", 11, "--update-freq", 2, "--lr", 1e-9)
    found = {
        precision: train(*flags, folder=precision, precision=precision, to=3)
        for precision in ON_CPU
        if precision != "amp"
    }
    whole = sums(found["fp32"])
    mask = found["fp32"].task.run.mask
    for precision, training in found.items():
        assert training.task.run.mask == mask
        allowed = 0.1 if precision.startswith("bf16") else 0.02
        for name in mask:
            total = sums(training)[name]
            assert total.dtype == torch.float32
            assert (total - whole[name]).norm() <= allowed * whole[name].norm(), (precision, name)
    assert all(whole[name][~keep].any() for name, keep in mask.items())
    once = train(*own("OfGradients", "--prune-every", 11, "--lr", 1e-9), folder="once", to=3)
    assert not same(sums(once), whole)


def test_sums_begin_anew_with_each_mask(train):
    flags = own("OfGradients", "--prune-every", 3)
    assert not any(total.any() for total in sums(train(*flags, to=3)).values())
    then = train(*flags, to=4)
    assert all(sums(then)[name].any() for name in then.task.run.mask)


# --- as commands ---------------------------------------------------------------------------


COMMAND = (
    *("--pruner", "set", "--prune-to", 0.9, "--prune-start", 2, "--prune-end", 18),
    *("--prune-every", 3, "--save-interval-updates", 4),
)


@pytest.mark.slow
def test_set_is_killed_resumed_checked_translated_and_exported(toy):
    flags = (*COMMAND, "--store-ema", "--ema-decay", 0.9, "--update-freq", 2)
    flags = (*flags, "--prune-end", 11, "--snapshot-updates", "0,6")
    toy.train("whole", *flags, updates=12).ok()
    assert toy.train("parts", *flags, updates=12, prelude=lambda: kill_at(10)).code != 0
    toy.train("parts", *flags, updates=12).ok()
    whole, parts = toy.load("whole", LAST), toy.load("parts", LAST)
    assert_same_training(whole, parts)
    # without 0.12.2's untrained copies of weights and fairseq's uninitialised buffers
    assert same(*(untie(state["extra_state"]["ema"]) for state in (whole, parts)))
    mask = toy.mask("whole", LAST)
    assert_pruned(whole, mask)
    snapshots = [toy.mask("whole", f"snapshot_{update}.safetensors") for update in (0, 6)]
    assert len({one.digest() for one in (*snapshots, mask)}) == 3, "it changes"
    assert {one.pruned for one in (*snapshots, mask)} == {mask.pruned}, "at one sparsity"
    assert main(["inspect", "--check", str(toy.path("whole"))]) == 0
    assert toy.path("whole", "checkpoint_best.pt").exists(), "every validation counts"
    alone = ("--required-batch-size-multiple", 1)  # or fairseq itself drops sentences
    plain = toy.generate(f"whole/{LAST}", *alone, lottery=False).ok()
    assert hypotheses(toy.generate(f"whole/{LAST}").ok()) == hypotheses(plain) != {}
    compact = toy.path("small.safetensors")
    export = ["export", str(toy.path("whole", LAST)), "--to", "compact", "--out", str(compact)]
    assert main(export) == 0
    assert read_source(compact).mask == mask


@pytest.mark.slow
def test_set_under_a_tickets_mask(toy, dense):
    ticket = drawing(dense, 0.9)
    toy.train("run", *ticket, *COMMAND).ok()
    first, mask = toy.mask("run", "ticket.safetensors"), toy.mask("run", LAST)
    assert mask.pruned == first.pruned and mask != first
    assert all(mask.pruned_in(name) == first.pruned_in(name) for name in mask)
    assert_pruned(toy.load("run", LAST), mask)
    assert main(["inspect", "--check", str(toy.path("run"))]) == 0
    done = toy.train("other", *drawing(dense, 0.8), *COMMAND)
    assert done.code == 2 and "Traceback" not in done.out
    assert "--pruner set starts at sparsity 0.9, but the run starts at 0.8" in done.out
    pattern = drawing(dense, 0.5, "--scope", "2:4", "--prunable", "ffn")
    toy.train("pattern", *pattern, updates=1).ok()
    path = toy.path("pattern", "ticket.safetensors")
    done = toy.train("other", "--ticket", path, *COMMAND, "--prune-to", 0.5)
    assert done.code == 2
    assert "the mask has the pattern 2:4, but --pruner set" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["set", "matrix.pruners:OfGradients"])
def test_two_processes_have_one_mask_and_resume(toy, pruner):
    flags = (*COMMAND, "--prune-end", 11, "--pruner", pruner, "--store-ema", "--ema-decay", 0.9)
    for done in train_two(toy, "whole", *flags, updates=12):
        done.ok()
    # saved after 4 updates, between the exchanges after 2 and 5
    killed = train_two(toy, "parts", *flags, updates=12, prelude=lambda: kill_at(5))
    assert all(done.code != 0 for done in killed)
    for done in train_two(toy, "parts", *flags, updates=12):
        done.ok()
    assert_same_training(toy.load("whole", LAST), toy.load("parts", LAST))
    assert_pruned(toy.load("whole", LAST), toy.mask("whole", LAST))
    assert [one.problems for one in check_folder(toy.path("whole"))] == [()] * len(
        check_folder(toy.path("whole"))
    )


def test_a_pruner_that_starts_at_another_sparsity_than_it_says_is_refused(refused):
    sentence = "Static at update 4 returned a mask with 0 of 2672 weights pruned, expected sparsit"
    refused(sentence, *own("Static"), "--prune-start", 4)


def test_ema_in_fp32_is_refused_in_the_middle_as_well(train, refused):
    train(*SET, "--store-ema", to=4)
    refused("--ema-fp32 ", *SET, "--store-ema", "--ema-fp32")


def test_signs_are_not_followed_where_weights_come_back(train):
    assert "sign_flips" in train(*SET[2:], to=3, folder="gradual").task.run.metrics_to_log(False)
    figures = train(*SET, to=3).task.run.metrics_to_log(False)
    assert "sign_flips" not in figures and figures["sparsity"] == pytest.approx(0.8, abs=1e-3)


def test_gradients_are_summed_until_the_last_exchange_only(train):
    flags = (*own("OfGradients"), "--prune-end", 6)
    for update, is_summed in ((5, True), (6, False), (7, False)):
        optimizer = train(*flags, to=update).task.run._masked
        assert (optimizer._gradients is not None) == is_summed


def test_snapshots_alone_are_not_taken_for_those_of_a_mask_that_shrinks(train, tmp_path):
    train(*SET, "--snapshot-updates", "2,5,8", to=8)
    (tmp_path / "run" / LAST).unlink()
    assert [one.problems for one in check_folder(tmp_path / "run")] == [(), (), ()]
