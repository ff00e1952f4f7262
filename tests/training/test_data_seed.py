"""A seed of the order of the examples, apart from the seed of the weights."""

import argparse
from itertools import combinations

import pytest

pytest.importorskip("fairseq")

import torch
from matrix.training import Training, configuration, in_this_process
from toy import assert_same_training, kill_at, same, train_two

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.inference.lottery_config import LotteryConfig
from fairseq_lottery.masks.streams import order_seed
from fairseq_lottery.training.start.flag_checks import refuse_stray_flags

FOUR = ("--update-freq", 4)
LAST = "checkpoint_last.pt"


@pytest.fixture
def start(toy_data, tmp_path):
    """A training that goes on from what its folder holds."""

    def start(name, *flags, most=12):
        cfg = configuration(toy_data, tmp_path / name, "--max-update", most, *flags)
        return Training(cfg)

    with in_this_process():
        yield start


def batches(training):
    """Numbers of the sentences in each batch of the next epoch."""
    epoch = training.epoch.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True)
    return [sorted(batch["id"].tolist()) for batch in epoch]


@pytest.mark.parametrize("seed", [-1, 1 << 31])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(LotteryError, match=f"--data-seed {seed} is out of range"):
        refuse_stray_flags(
            argparse.Namespace(
                sparse_decode=False, pair_mask=None, data_seed=seed, head_seed=None
            )
        )


def test_it_is_absent_by_default():
    assert LotteryConfig().data_seed is None


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--update-ordered-indices-seed",)], ids=["", "by epoch"])
def test_the_order_is_that_of_a_run_with_its_hash_and_the_weights_are_not(start, more):
    plain, other = start("plain", *more), start("other", "--seed", order_seed(7), *more)
    ordered = start("ordered", "--data-seed", 7, *more)
    initial = [one.state()["model"] for one in (plain, other, ordered)]
    orders = [[batches(one), batches(one)] for one in (plain, other, ordered)]
    assert orders[2] == orders[1] != orders[0]
    assert orders[2][0] != orders[2][1], "each epoch has its own order"
    assert same(initial[2], initial[0]) and not same(initial[2], initial[1])


@pytest.mark.slow
def test_no_order_is_another_one_shifted_by_epochs(start):
    """fairseq shuffles epoch e with seed + e, so seeds 1 and 2 would share all orders but one."""
    flags = {"plain": (), **{f"order {seed}": ("--data-seed", seed) for seed in (1, 2, 3)}}
    runs = [start(name, *more) for name, more in flags.items()]
    orders = [str(batches(run)) for run in runs for _ in range(4)]
    assert len(set(orders)) == len(orders) == 16


@pytest.mark.slow
def test_the_checkpoint_has_the_data_seed_and_its_model_is_another_one(start):
    """Even if it is the number of the run's own seed, which is 3 in toys."""
    plain, given = start("plain").run(6).state(), start("given", "--data-seed", 3).run(6).state()
    assert given["task"]["lottery"]["data_seed"] == 3
    assert "data_seed" not in plain["task"]["lottery"]
    other = start("other", "--data-seed", 4).run(6).state()
    models = [one["model"] for one in (plain, given, other)]
    assert not any(same(a, b) for a, b in combinations(models, 2))


@pytest.mark.slow
def test_a_resumed_run_keeps_its_order_to_the_bit(start, tmp_path):
    whole = start("whole", "--data-seed", 7, *FOUR).run(12).state()
    for update in (3, 8):  # the second one in another epoch
        start("parts", "--data-seed", 7, *FOUR).run(update).save()
    assert same(whole, start("parts", "--data-seed", 7, *FOUR).run(12).state())
    assert read_checkpoint(tmp_path / "parts" / LAST)["task_state"]["lottery"]["data_seed"] == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    "then, now, sentence",
    [
        ((), ("--data-seed", 7), "a run without --data-seed, so --data-seed 7 would change"),
        (("--data-seed", 7), (), "is from a run with --data-seed 7; give it again"),
        (("--data-seed", 7), ("--data-seed", 8), "is from a run with --data-seed 7, not 8;"),
    ],
)
def test_the_order_does_not_change_in_the_middle_of_a_run(
    start, tmp_path, capsys, then, now, sentence
):
    start("run", *then).run(2).save()
    before = (tmp_path / "run" / LAST).read_bytes()
    with pytest.raises(SystemExit):
        start("run", *now)
    assert sentence in capsys.readouterr().err
    assert (tmp_path / "run" / LAST).read_bytes() == before
    # another run that starts from its weights has an order of its own
    tuned = start("tuned", *now, "--finetune-from-model", tmp_path / "run" / LAST).run(2)
    assert tuned.task.run.state().get("data_seed") == (now[1] if now else None)


@pytest.mark.slow
def test_two_processes_share_one_order_and_resume(toy):
    flags = ("--data-seed", 7, *FOUR, "--save-interval-updates", 4)
    for name, prelude in (("whole", None), ("parts", lambda: kill_at(4)), ("parts", None)):
        done = train_two(toy, name, *flags, updates=8, prelude=prelude)
        assert prelude or [one.code for one in done] == [0, 0], done[0].out[-2000:]
    whole, parts = (toy.load(name, LAST) for name in ("whole", "parts"))
    assert_same_training(whole, parts)
    for done in train_two(toy, "other", *FOUR, "--data-seed", 8, updates=8):
        done.ok()
    other = toy.load("other", LAST)
    assert not all(torch.equal(w, other["model"][n]) for n, w in whole["model"].items())
