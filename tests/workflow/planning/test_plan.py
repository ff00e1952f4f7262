from collections import Counter

import pytest
from workflow.made import MASKED, ONE_SET, ROWS, TABLE_1, TRAIN, configure, plan_of

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.planning.chosen_cells import choose_cells
from fairseq_lottery.workflow.planning.recipe import recipe
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES


def walk(training, seen=None):
    """Every training that one depends on, itself with them, by following its ticket."""
    seen = {} if seen is None else seen
    if training.fingerprint not in seen:
        seen[training.fingerprint] = training
        if training.ticket is not None:
            walk(training.ticket.mask_from, seen)
            walk(training.ticket.start.training, seen)
            if training.ticket.components is not None:
                walk(training.ticket.components.of, seen)
    return seen


@pytest.fixture(scope="module")
def table_1(tmp_path_factory):
    return plan_of(tmp_path_factory.mktemp("table"), *TABLE_1)


def test_table_1_has_so_many_cells(table_1):
    assert Counter(cell.technique for cell in table_1.cells) == {
        "dense": 1, "mp": 12, "lt": 12, "slt": 12, "clt": 12, "slt-mp": 8, "mp-slt": 12
    }  # fmt: skip
    assert {cell.sparsity for cell in table_1.cells} == {0.0, *ROWS}
    assert [c.sparsity for c in table_1.cells if c.technique == "slt-mp"] == list(ROWS[4:])
    assert [c.sparsity for c in table_1.cells if c.technique == "mp-slt"] == list(ROWS)
    assert {cell.seed for cell in table_1.cells} == {1}


def test_table_1_takes_64_trainings(table_1):
    needed = {}
    for cell in table_1.cells:
        walk(cell.training, needed)
    assert len(needed) == len(table_1.trainings) == 64
    assert set(needed) == {training.fingerprint for training in table_1.trainings}

    # each technique in turn: what it needs beyond those before it
    seen, more = set(), {}
    for cell in table_1.cells:
        new = set(walk(cell.training)) - seen
        more[cell.technique] = more.get(cell.technique, 0) + len(new)
        seen |= new
    assert more == {
        "dense": 1, "mp": 12, "lt": 12, "slt": 12, "clt": 12, "slt-mp": 2 + 6, "mp-slt": 1 + 6
    }  # fmt: skip


def test_table_1_would_take_345_if_none_were_shared(table_1):
    # 1 dense; MP 12 of their own; LT, SLT and CLT 2 + 3 + ... + 13 each; SLT-MP 2 + 3 + 6 x 4;
    # MP-SLT 3 + 4 + ... + 8 (its row of 60 % is MP's)
    assert 1 + 12 + 3 * sum(range(2, 14)) + (2 + 3 + 6 * 4) + sum(range(3, 9)) == 345
    distinct = {cell.training.fingerprint: cell.training for cell in table_1.cells}
    assert sum(len(walk(training)) for training in distinct.values()) == 345
    assert table_1.unshared == 345


def test_parents_come_first(table_1):
    place = {training: n for n, training in enumerate(table_1.trainings)}
    assert len(place) == 64
    for training in table_1.trainings:
        assert all(place[parent] < place[training] for parent in training.parents)


def test_who_fills_what(table_1):
    filled = [len(table_1.cells_of(training)) for training in table_1.trainings]
    assert Counter(filled) == {1: 57, 2: 6, 0: 1}
    shared = [table_1.cells_of(t) for t in table_1.trainings if len(table_1.cells_of(t)) == 2]
    assert [[cell.name for cell in cells] for cells in shared] == [
        [f"mp@{row:g}#1", f"mp-slt@{row:g}#1"] for row in ROWS[:6]
    ]
    bridge = next(t for t in table_1.trainings if not table_1.cells_of(t))
    assert (bridge.label, bridge.ticket.takes_mask) == ("rewind50-0.6", True)


def test_seeds_share_nothing(tmp_path):
    plan = plan_of(tmp_path, *TABLE_1, seeds=[1, 2, 3])
    assert len(plan.trainings) == 3 * 64
    assert plan.unshared == 3 * 345
    assert [c.name for c in plan.cells[:3]] == ["dense@0#1", "dense@0#2", "dense@0#3"]


def test_all_techniques_together(tmp_path):
    plan = plan_of(tmp_path, *ONE_SET, sparsities=[0.5, 0.9])
    needed = {}
    for cell in plan.cells:
        walk(cell.training, needed)
    assert len(plan.trainings) == len(needed)
    by = {cell.name: cell.training for cell in plan.cells}
    # slt-mp's first round and one-shot's first row are SLT's
    assert by["slt@0.5#1"] == by["one-shot@0.5#1"] == by["slt-mp@0.5#1"]
    assert by["slt@0.9#1"] != by["one-shot@0.9#1"]
    assert by["lr-rewind@0.5#1"] != by["fine-tune@0.5#1"]
    assert by["random-reinit@0.5#1"] != by["random@0.5#1"]


def test_rounds_without_a_row_are_trained_and_fill_no_cell(tmp_path):
    plan = plan_of(tmp_path, "slt", sparsities=[0.9], rounds=[0.5, 0.9])
    assert [cell.name for cell in plan.cells] == ["dense@0#1", "slt@0.9#1"]
    assert [t.label for t in plan.trainings] == ["dense", "rewind50-0.5", "rewind50-0.9"]


def test_a_grid_over_the_rewind(tmp_path):
    plan = plan_of(tmp_path, {"slt": {"rewind": [0, 50, "20%"]}}, "lt", sparsities=[0.5, 0.9])
    assert [cell.name for cell in plan.cells][1:] == [
        "slt-t0@0.5#1", "slt-t0@0.9#1", "slt-t50@0.5#1", "slt-t50@0.9#1",
        "slt-t20pc@0.5#1", "slt-t20pc@0.9#1", "lt@0.5#1", "lt@0.9#1",
    ]  # fmt: skip
    assert len(plan.trainings) == 1 + 3 * 2  # LT is SLT with t = 0
    starts = [cell.training.ticket.start.update for cell in plan.cells[1:]]
    assert starts == [0, 0, 50, 50, 200, 200, 0, 0]


def test_counter_and_source_of_the_whole_and_of_one(tmp_path):
    plan = plan_of(
        tmp_path, "slt", {"clt": {"update_counter": "restart", "rewind_source": "latest"}},
        sparsities=[0.5, 0.9], update_counter="rewind", rewind_source="dense",
    )  # fmt: skip
    by = {cell.name: cell.training.ticket for cell in plan.cells[1:]}
    dense = plan.trainings[0]
    assert (by["slt@0.9#1"].update_counter, by["slt@0.9#1"].start.training) == ("rewind", dense)
    assert by["clt@0.9#1"].update_counter == "restart"
    assert by["clt@0.9#1"].start.training == by["clt@0.9#1"].mask_from != dense


def test_a_task_is_part_of_a_training_unless_it_is_translation(tmp_path):
    train = MASKED["train"]
    one, other = plan_of(tmp_path, "slt", train=train), plan_of(tmp_path, "slt", **MASKED)
    for before, after in zip(one.trainings, other.trainings):
        assert after.content["task"] == "masked_lm" and "task" not in before.content
        assert before.fingerprint != after.fingerprint
    assert len(one.trainings) == len(other.trainings)
    written = plan_of(tmp_path, "slt", train=train, task="translation")
    assert written.trainings == one.trainings


def test_the_techniques_for_single_weights_are_for_every_task(tmp_path):
    names = {"masked_lm"}
    assert {t.task.name for t in plan_of(tmp_path, *TABLE_1, **MASKED).trainings} == names


def test_learned_gates_require_a_task_that_translates(tmp_path):
    what = "blocks-gates[a-z-]* with learned gates"
    message = rf"line \d+: {what} requires a task that translates, and masked_lm"
    with pytest.raises(LotteryError, match=message):
        plan_of(tmp_path, "blocks-gates", sparsities=[0.5], **MASKED)


@pytest.mark.parametrize("name", ["heads-lowest", "units-random", "s-good", "m-bad"])
def test_what_closes_parts_is_for_every_task(tmp_path, name):
    cell = plan_of(tmp_path, name, sparsities=[0.5], **MASKED).cells[-1]
    assert cell.training.components is not None and cell.training.task.name == "masked_lm"


def test_a_technique_of_the_users(tmp_path):
    (tmp_path / "own.py").write_text(
        "from fairseq_lottery.workflow.trainings.techniques import technique\n"
        "@technique('halves', 'by halves')\n"
        "def halves(v, rounds_more=1):\n"
        "    run, left = v.dense, 1.0\n"
        "    for _ in range(rounds_more + 1):\n"
        "        left /= 2\n"
        "        run = v.train(v.ticket(run, 1 - left))\n"
        "        yield 1 - left, run\n"
    )
    try:
        plan = plan_of(
            tmp_path, {"halves": {"rounds_more": 2}}, own_techniques="own.py",
            sparsities=[0.5, 0.875],
        )  # fmt: skip
        assert [cell.name for cell in plan.cells] == ["dense@0#1", "halves@0.5#1", "halves@0.875#1"]
        assert [t.sparsity for t in plan.trainings] == [0.0, 0.5, 0.75, 0.875]
    finally:
        TECHNIQUES.pop("halves", None)


@pytest.fixture
def own(tmp_path):
    """Plans a technique of the user's that yields what a test says; forgets it afterwards."""

    def plan(yields, **settings):
        (tmp_path / "own.py").write_text(
            "from fairseq_lottery.workflow.trainings.techniques import technique\n"
            "@technique('own', 'Own')\n"
            f"def own(v):\n    {yields}\n"
        )
        return plan_of(tmp_path, "mp", "own", own_techniques="own.py", **settings)

    yield plan
    TECHNIQUES.pop("own", None)


def test_a_row_that_is_not_its_trainings_is_refused(own, tmp_path):
    with pytest.raises(LotteryError) as refusal:
        own("yield 0.9, v.train(v.ticket(v.dense, 0.8))", sparsities=[0.9])
    assert str(refusal.value) == (
        f"{tmp_path}/small.yaml, line 6: own yields sparsity 0.9 with a training of sparsity 0.8"
    )
    with pytest.raises(LotteryError, match="yields sparsity 0.5 with a training of sparsity 0$"):
        own("yield 0.5, v.dense", sparsities=[0.9])  # though it is no row that is asked for


def test_a_row_is_met_in_spite_of_rounding(own):
    thrice = "yield 0.1 + 0.2, v.train(v.ticket(v.dense, 0.1 * 3))"
    assert 0.1 + 0.2 != 0.3
    plan = own(f"{thrice}\n    yield 1 - 0.1, v.prune(1 - 0.1)", sparsities=[0.3, 0.9])
    cells = [cell for cell in plan.cells if cell.technique == "own"]
    assert [cell.sparsity for cell in cells] == [0.3, 0.9]
    assert [cell.name for cell in cells] == ["own@0.3#1", "own@0.9#1"]
    with pytest.raises(LotteryError, match="own has no row at the sparsities 0.3; "):
        own("yield 0.30001, v.prune(0.30001)", sparsities=[0.3])


def test_pruning_from_a_ticket_begins_where_its_counter_does(tmp_path):
    for rewind, prune, start in ((50, {}, 50), (50, {"start": 100}, 100), (0, {}, 0)):
        plan = plan_of(tmp_path, "mp", {"slt-mp": {"update_counter": "rewind"}}, sparsities=[0.9],
                       rewind=rewind, prune=prune)  # fmt: skip
        mp, slt_mp = (cell.training for cell in plan.cells[1:])
        assert (slt_mp.ticket.start.update, slt_mp.pruning.start) == (rewind, start)
        assert mp.pruning.start == prune.get("start", 0)
        assert (slt_mp.pruning.end, slt_mp.pruning.every) == (800, 20)
    plan = plan_of(tmp_path, "slt-mp", sparsities=[0.9], rewind=50)
    assert plan.cells[1].training.pruning.start == 0  # its update counter restarts


def test_processes_of_all_nodes_share_a_batch(tmp_path):
    plan = plan_of(tmp_path, resources={"gpus": 4, "nodes": 2})
    assert plan.trainings[0].processes == 8


# --- choosing cells ---


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ((), ["dense@0#1", "slt@0.5#1", "slt@0.9#1", "slt-mp@0.5#1", "slt-mp@0.9#1"]),
        (("slt",), ["slt@0.5#1", "slt@0.9#1"]),
        (("slt@0.9",), ["slt@0.9#1"]),
        (("*@0.9",), ["slt@0.9#1", "slt-mp@0.9#1"]),
        (("@0.9",), ["slt@0.9#1", "slt-mp@0.9#1"]),
        (("slt*@0.5", "dense"), ["dense@0#1", "slt@0.5#1", "slt-mp@0.5#1"]),
        (("slt@0.9", "slt"), ["slt@0.5#1", "slt@0.9#1"]),
        (("slt@0.9#1",), ["slt@0.9#1"]),
        (("dense#1", "slt-mp#*"), ["dense@0#1", "slt-mp@0.5#1", "slt-mp@0.9#1"]),
    ],
)
def test_patterns_choose_cells(tmp_path, only, names):
    plan = plan_of(
        tmp_path, "slt", {"slt-mp": {"switch": [0.5]}}, sparsities=[0.5, 0.9]
    )  # fmt: skip
    assert [cell.name for cell in choose_cells(plan, only)] == names


@pytest.mark.parametrize(
    ("only", "seeds", "names"),
    [
        ((), (2,), ["dense@0#2", "slt@0.5#2"]),
        ((), (1, 12), ["dense@0#1", "dense@0#12", "slt@0.5#1", "slt@0.5#12"]),
        (("slt",), (12,), ["slt@0.5#12"]),
        (("slt#2", "dense#1"), None, ["dense@0#1", "slt@0.5#2"]),
        (("slt#2", "dense#1"), (2,), ["slt@0.5#2"]),
        (("slt#1",), None, ["slt@0.5#1"]),
        (("#12",), None, ["dense@0#12", "slt@0.5#12"]),
        (("*@0.5#1*",), None, ["slt@0.5#1", "slt@0.5#12"]),
    ],
)
def test_seeds_choose_cells(tmp_path, only, seeds, names):
    plan = plan_of(tmp_path, "slt", sparsities=[0.5], seeds=[1, 2, 12])
    assert [cell.name for cell in choose_cells(plan, only, seeds)] == names


def test_a_seed_that_is_not_the_configurations(tmp_path):
    plan = plan_of(tmp_path, "slt", sparsities=[0.5], seeds=[1, 2])
    with pytest.raises(LotteryError) as refusal:
        choose_cells(plan, [], (2, 7))
    assert str(refusal.value) == (
        f"--seeds 7 is not in {tmp_path}/small.yaml; add it to its key seeds"
    )
    with pytest.raises(LotteryError, match="^--only slt#3 matches no cell; "):
        choose_cells(plan, ["slt#3"], (1,))


@pytest.mark.parametrize(
    ("only", "known"),
    [
        ("mp", "technique@sparsity with one of dense, slt"),
        ("clt@0.9", "technique@sparsity with one of dense, slt"),
        ("slt@0.7", "slt@sparsity with one of 0.5, 0.9"),
        ("@0.7", "*@sparsity with one of 0, 0.5, 0.9"),
        ("slt@0.9#2", "slt@0.9#seed with one of 1"),
    ],
)
def test_a_pattern_that_fits_no_cell(tmp_path, only, known):
    plan = plan_of(tmp_path, "slt", sparsities=[0.5, 0.9])
    with pytest.raises(LotteryError) as refusal:
        choose_cells(plan, [only])
    assert str(refusal.value) == f"--only {only} matches no cell; write {known}"


@pytest.mark.parametrize("only", ["", "@", "#", "@#"])
def test_an_empty_pattern_does_not_choose_all(tmp_path, only):
    plan = plan_of(tmp_path, "slt", sparsities=[0.5])
    with pytest.raises(LotteryError) as refusal:
        choose_cells(plan, ["slt", only])
    assert str(refusal.value) == f"--only {only!r} selects nothing; write technique@sparsity"


# --- what tables say ---


def test_the_recipe(tmp_path):
    found = recipe(
        configure(
            tmp_path, "slt", {"clt": {"rewind": 20}}, evaluate=[{"beam": 4, "lenpen": 0.6}],
            prunable="no-embeddings",
        )
    )  # fmt: skip
    assert found == {
        "architecture": "transformer",
        "optimizer": "masked_adam",
        "learning rate": "7e-4",
        "schedule": "inverse_sqrt",
        "warm-up": "100",
        "tokens per batch and process": "4096",
        "normalisation": "post-norm, unless the architecture says so",
        "processes": 1,
        "updates": 1000,
        "rewind": [20, 50],
        "scope": "layer",
        "prunable": "no-embeddings",
        "checkpoint": ["best"],
        "beam": [4],
        "length penalty": [0.6],
    }
    budgets = recipe(configure(tmp_path, "slt", {"mp": {"budget": "2x"}}, budget=1))["budget"]
    assert budgets == ["1x", "2x"]


@pytest.mark.parametrize(
    ("technique", "every", "count", "there"),
    [
        ("mp", 50, 6, 5),  # 800 is the update of the last mask: 800, 850, ..., 1000
        ("mp", 60, 4, 3),
        ({"lr-rewind": {"rewind": 600}}, 100, 5, 4),
    ],
)
def test_a_mean_of_more_checkpoints_than_there_are(tmp_path, technique, every, count, there):
    settings = {"train": f"{TRAIN} --save-interval-updates {every}", "sparsities": [0.5]}
    plan_of(tmp_path, technique, evaluate=[{"checkpoint": f"average:{there}"}], **settings)
    with pytest.raises(LotteryError, match=f"average:{count}: .* saves {there} checkpoints after"):
        plan_of(tmp_path, technique, evaluate=[{"checkpoint": f"average:{count}"}], **settings)


def test_the_recipe_of_a_task_that_does_not_translate(tmp_path):
    before = recipe(configure(tmp_path, train=MASKED["train"]))
    after = recipe(configure(tmp_path, **MASKED))
    assert after.pop("task") == "masked_lm"
    assert set(before) - set(after) == {"beam", "length penalty"} and set(after) <= set(before)
