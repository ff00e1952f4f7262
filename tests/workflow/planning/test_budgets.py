"""Budgets: the total length of the trainings behind a row."""

import pytest
from workflow.made import ONE_SET, TRAIN, configure, plan_of

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records import training_cost
from fairseq_lottery.workflow.command_lines.plan_stages import make_stages
from fairseq_lottery.workflow.planning.budgets import updates_behind

ROWS = {"sparsities": [0.5, 0.75, 0.9]}


def training_of(plan, technique, sparsity, seed=1):
    cells = [
        c for c in plan.cells if (c.technique, c.sparsity, c.seed) == (technique, sparsity, seed)
    ]
    (cell,) = cells
    return cell.training


def test_each_row_takes_the_updates_of_the_dense_training(tmp_path):
    plan = plan_of(tmp_path, "slt", "mp", "one-shot", "set", **ROWS, budget="1x")
    for technique in ("slt", "mp", "one-shot", "set"):
        for sparsity in ROWS["sparsities"]:
            training = training_of(plan, technique, sparsity)
            count = sum(1 for run in training.ancestors())
            assert 1000 - count < updates_behind(training) <= 1000
    # the dense model and three rounds: a quarter of the updates for each
    chain = list(training_of(plan, "slt", 0.9).ancestors())
    assert [run.updates for run in chain] == [250] * 4
    assert [run.updates for run in training_of(plan, "slt", 0.5).ancestors()] == [500] * 2
    assert training_of(plan, "mp", 0.5).updates == 1000


def test_everything_in_updates_shrinks_with_the_training(tmp_path):
    train = f"{TRAIN} --validate-interval-updates 100 --save-interval-updates 100"
    plan = plan_of(tmp_path, "slt", "mp-slt", sparsities=[0.8], budget=1, rewind="10%", train=train,
                   prune={"end": "60%", "every": 50})  # fmt: skip
    last = training_of(plan, "slt", 0.8)
    assert last.updates == 500 and last.ticket.start.update == 50
    flags = {name: last.flags.get(name) for name in last.flags.names}
    assert flags["--max-update"] == "500" and flags["--warmup-updates"] == "50"
    assert flags["--validate-interval-updates"] == "50"
    assert flags["--lr"] == "7e-4"
    pruned = next(run for run in training_of(plan, "mp-slt", 0.8).ancestors() if run.pruning)
    third = 1000 // 3
    assert (pruned.updates, pruned.pruning.end, pruned.pruning.every) == (third, 200, 17)


def test_a_multiple_makes_single_trainings_longer(tmp_path):
    dense = {"dense-longer": {"sparsities": [0]}}
    plan = plan_of(tmp_path, "mp", "slt", dense, sparsities=[0.8], budget="3x")
    assert training_of(plan, "mp", 0.8).updates == 3000
    assert training_of(plan, "dense-longer", 0).updates == 3000
    assert training_of(plan, "dense", 0).updates == 1000
    assert [run.updates for run in training_of(plan, "slt", 0.8).ancestors()] == [1500] * 2


def test_a_counter_that_rewinds_counts_from_t(tmp_path):
    """The dense run and a round from t = 10 %: 1.9 trainings."""
    plan = plan_of(tmp_path, "lr-rewind", sparsities=[0.8], rewind="10%", budget=1)
    dense, run = training_of(plan, "lr-rewind", 0.8).ancestors()
    assert dense.updates == run.updates == 526
    assert run.first_update == 53
    assert updates_behind(run) == 999


def test_without_a_budget_plans_do_not_change(tmp_path):
    before = plan_of(tmp_path, "slt", "mp", **ROWS)
    after = plan_of(tmp_path, "slt", {"mp": {"budget": "1x"}}, **ROWS)
    assert [c.training.fingerprint for c in before.cells] == [
        c.training.fingerprint for c in after.cells
    ]
    folders = [{stage.folder for stage in make_stages(plan)} for plan in (before, after)]
    assert folders[0] == folders[1]


def test_a_technique_with_its_own_length_does_not_fit_every_budget(tmp_path):
    own = tmp_path / "mine.py"
    own.write_text(
        "from fairseq_lottery.workflow.trainings.techniques import technique\n"
        "@technique('fixed', 'fixed length')\n"
        "def fixed(v):\n"
        "    yield 0.5, v.train(v.ticket(v.dense, 0.5), updates=200)\n"
    )
    settings = {"own_techniques": "mine.py", "sparsities": [0.5]}
    with pytest.raises(LotteryError, match=r"fixed at 0.5 takes \d+ updates with budget 2x"):
        plan_of(tmp_path, "fixed", **settings, budget="2x")


@pytest.mark.parametrize(
    "value, problem",
    [
        ("0x", "budget is '0x', expected a multiple of the dense training, such as 2x"),
        ("much", "budget is 'much', expected a multiple of the dense training, such as 2x"),
        (-1, "budget is '-1', expected a multiple of the dense training, such as 2x"),
        ("0.001x", "slt at 0.5 has 0 updates for each training with budget 0.001x, too few for"),
    ],
)
def test_a_budget_that_does_not_fit_is_one_sentence(tmp_path, value, problem):
    with pytest.raises(LotteryError) as refused:
        plan_of(tmp_path, "slt", sparsities=[0.5], budget=value)
    assert problem in str(refused.value) and "small.yaml, line" in str(refused.value)


@pytest.mark.parametrize(
    "technique, words",
    [
        ("slt", "1 updates for each training with budget 0.002x, too few for rewind; give a larger"
         " budget, or fewer rounds"),
        # a technique without tickets rewinds nothing, and has no rounds
        ("mp", "2 updates for each training with budget 0.002x, too few for --warmup-updates; give"
         " a larger budget"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path, technique, words):
    with pytest.raises(LotteryError) as refused:
        plan_of(tmp_path, technique, sparsities=[0.5], budget="0.002x")
    assert str(refused.value).endswith(words)


def test_masks_of_other_techniques_have_no_budget_of_their_own(tmp_path):
    techniques = ("imp", {"fresh-weights": {"budget": "1x"}})
    with pytest.raises(LotteryError, match="fresh-weights takes masks of other techniques"):
        configure(tmp_path, *techniques, sparsities=[0.5])


def test_a_training_counts_up_to_the_snapshot_that_is_read(tmp_path):
    """MP to 60 %, update t of the dense run (10 %), and two trainings: 3.1 trainings."""
    plan = plan_of(
        tmp_path, "mp-slt", sparsities=[0.8], rewind="10%", rewind_source="dense", budget="1x"
    )
    training = training_of(plan, "mp-slt", 0.8)
    assert training.updates == 322
    assert 1000 - 6 < updates_behind(training) <= 1000
    plan = plan_of(tmp_path, "mp-slt", sparsities=[0.8], rewind="10%", rewind_source="dense")
    assert updates_behind(training_of(plan, "mp-slt", 0.8)) == 3100


@pytest.mark.parametrize("source", ["dense", "latest"])
def test_reports_count_the_updates_that_budgets_count(tmp_path, source):
    """Reports count from the stages of a plan, and budgets before there are any."""
    keys = {"rewind": "10%", "rewind_source": source}
    plan = plan_of(tmp_path, *ONE_SET, sparsities=[0.8], rounds=[0.5, 0.8], **keys)
    stages = make_stages(plan)
    cells = {(c.technique, c.sparsity): c.training for c in plan.cells}
    assert len({technique for technique, _ in cells}) > len(ONE_SET) * 0.9
    for cell, training in cells.items():
        in_report = training_cost.updates_behind(stages, training.folder)
        assert sum(in_report.values()) == updates_behind(training), cell


def test_flags_beyond_the_training_keep_their_ratio(tmp_path):
    flags = TRAIN.replace("inverse_sqrt --warmup-updates 100", "polynomial_decay")
    train = f"{flags} --total-num-update 5000 --lr-period-updates -1"
    plan = plan_of(tmp_path, "one-shot", sparsities=[0.8], budget=1, train=train)
    shorter = training_of(plan, "one-shot", 0.8).flags
    assert (shorter.get("--total-num-update"), shorter.get("--lr-period-updates")) == ("2500", "-1")


def test_the_default_warm_up_shrinks_as_well(tmp_path):
    train = TRAIN.replace(" --warmup-updates 100", "")
    plan = plan_of(tmp_path, "one-shot", sparsities=[0.8], budget=1, train=train)
    assert training_of(plan, "one-shot", 0.8).flags.get("--warmup-updates") == "2000"
    assert training_of(plan, "dense", 0).flags.get("--warmup-updates") is None


def test_controls_of_masks_do_not_mix_lengths(tmp_path):
    controls = {"fresh-weights": {"masks": "snip"}}
    plan = plan_of(tmp_path, "snip", controls, sparsities=[0.8], budget=1)
    assert training_of(plan, "fresh-weights", 0.8).updates == 1000
    with pytest.raises(LotteryError, match="budget 1x changes the length of the trainings of slt"):
        plan_of(tmp_path, "slt", {"fresh-weights": {"masks": "slt"}}, sparsities=[0.8], budget=1)


@pytest.mark.parametrize("technique", ["set", "rigl", "itop", "granet", "movement", "static"])
def test_settings_of_magnitude_pruning_do_not_reach_other_pruners(tmp_path, technique):
    """Trainings refuse a schedule, a score or a minimum density that their pruner does not read."""
    keys = {"score": "random", "min_density": 0.01, "scope": "global"}
    prune = {"schedule": "linear"}
    plan = plan_of(tmp_path, technique, sparsities=[0.8], prune=prune, **keys)
    pruning = training_of(plan, technique, 0.8).pruning
    assert pruning.min_density == (0.01 if technique in ("granet", "movement") else 0)
    if technique != "static":
        assert pruning.score == "magnitude"
    if technique not in ("static", "movement"):
        assert pruning.schedule == "cubic"


def test_a_schedule_without_an_exchange_is_refused(tmp_path):
    with pytest.raises(LotteryError, match="weights are exchanged every 900 updates until 800"):
        plan_of(tmp_path, "rigl", sparsities=[0.8], prune={"every": 900})


def test_exchanging_pruners_keep_a_pattern(tmp_path):
    plan = plan_of(tmp_path, {"rigl": {"scope": "2:4"}}, sparsities=[0.5])
    assert training_of(plan, "rigl", 0.5).pruning.scope == "2:4"
    with pytest.raises(LotteryError, match="prunes during training, but scope: 2:4"):
        plan_of(tmp_path, {"granet": {"scope": "2:4"}}, sparsities=[0.5])
