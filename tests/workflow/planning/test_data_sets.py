"""Several data sets and pre-trained weights in one plan."""

import json
from pathlib import Path

import pytest

pytest.importorskip("yaml")

from workflow.made import MASKED, TRAIN, Work, configure, plan_of

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import sha256_of
from fairseq_lottery.records.plan import read_plan
from fairseq_lottery.workflow.planning.chosen_cells import choose_cells
from fairseq_lottery.workflow.planning.plan import make_plan
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES

ROOT = Path(__file__).resolve().parents[3]

SETS = [
    {"name": "one", "data": "data/one"},
    {"name": "two", "data": "data/two", "train": "--max-update 400 --lr 1e-3 --dropout 0.3"},
]


def sets(folder, *techniques, data=SETS, **settings):
    """Keys of a configuration with pre-trained weights and two data sets."""
    (folder / "pre.pt").write_bytes(b"weights")
    return {
        **MASKED, "data": data, "pretrained": "pre.pt", "sparsities": [0.3, 0.5],
        "scope": "global", "techniques": list(techniques), **settings,
    }  # fmt: skip


def named(plan):
    return {cell.name: cell.training for cell in plan.cells}


def after(stage, flag):
    return stage.command[stage.command.index(flag) + 1]


def test_each_data_set_has_its_own_flags_and_updates(tmp_path):
    first = configure(tmp_path, **sets(tmp_path, "slt", rewind="10%"))
    second = first.others[0]
    assert [c.data_name for c in first.data_sets] == ["one", "two"]
    assert (first.updates, second.updates) == (1000, 400)
    assert [c.data for c in first.data_sets] == [tmp_path / "data/one", tmp_path / "data/two"]
    assert first.train.get("--lr") == "7e-4" and second.train.get("--lr") == "1e-3"
    assert first.train.get("--dropout") is None and second.train.get("--dropout") == "0.3"
    assert second.train.get("--max-tokens") == "4096"
    assert [c.requests[0].rewind for c in first.data_sets] == [100, 40]


def test_every_training_starts_from_the_pretrained_weights(tmp_path):
    plan = plan_of(tmp_path, **sets(tmp_path, "slt", seeds=[1, 2]))
    runs = named(plan)
    start = runs["one:dense@0#1"].ticket.start
    assert start.training.pretrained == (
        str(tmp_path / "pre.pt"), sha256_of(tmp_path / "pre.pt")
    )  # fmt: skip
    for name, run in runs.items():
        # rewind is 0 by default, and weights of update 0 are those of the file
        assert run.ticket.start == start, name
        assert run.is_fine_tuning == ("dense" in name)
        assert run.keeps_pretrained
    assert start.training not in plan.trainings and len(plan.trainings) == 2 * 2 * 3
    assert runs["two:slt@0.5#2"].ticket.mask_from == runs["two:slt@0.3#2"]
    early = plan_of(tmp_path, **sets(tmp_path, {"slt": {"rewind": 50}}))
    run = named(early)["one:slt@0.5#1"]
    assert (run.ticket.start.update, run.keeps_pretrained) == (50, False)


def test_pretrained_weights_are_update_0_whatever_their_file_says(tmp_path):
    """A ticket that rewinds its update counter to them starts at 0, not at their last update."""
    keys = sets(tmp_path, {"lr-rewind": {"rewind": 0}}, data=SETS[:1])
    work = Work(tmp_path, *keys.pop("techniques"), **keys)
    run = named(work.plan)["one:lr-rewind@0.3#1"]
    assert (run.ticket.update_counter, run.first_update, run.ticket.reset) == ("rewind", 0, "keep")
    draw = next(s for s in work.stages if s.kind == "draw" and s.folder == run.folder)
    assert after(draw, "--start-from") == str(tmp_path / "pre.pt")
    assert after(draw, "--update-counter") == "restart" and after(draw, "--reset") == "keep"


def test_another_checkpoint_is_another_training_and_another_path_is_not(tmp_path):
    keys = sets(tmp_path, "slt")
    before = named(plan_of(tmp_path, **keys))["one:slt@0.5#1"].fingerprint
    (tmp_path / "moved.pt").write_bytes(b"weights")
    moved = named(plan_of(tmp_path, **{**keys, "pretrained": "moved.pt"}))
    assert moved["one:slt@0.5#1"].fingerprint == before
    (tmp_path / "other.pt").write_bytes(b"others")
    other = named(plan_of(tmp_path, **{**keys, "pretrained": "other.pt"}))
    assert other["one:slt@0.5#1"].fingerprint != before


def test_masks_of_each_data_set_are_trained_on_all(tmp_path):
    plan = plan_of(tmp_path, **sets(tmp_path, "imp", {"transfer": {"sparsities": [0.5]}}))
    runs = named(plan)
    for data in ("one", "two"):
        # the mask of the data set itself is that of its own run, which is trained once
        assert runs[f"{data}:transfer-{data}@0.5#1"] == runs[f"{data}:imp@0.5#1"]
    moved = runs["two:transfer-one@0.5#1"]
    assert moved.ticket.takes_mask and moved.ticket.mask_from == runs["one:imp@0.5#1"]
    assert (moved.data, moved.updates, moved.flags.get("--lr")) == ("two", 400, "1e-3")
    assert moved.folder.startswith("two/seed1/global-of-one-rewind0-0.5-")
    # on each set dense and, at 20 % of the survivors a round, two rounds to 0.3 and two to 0.5;
    # and two moved masks
    assert len(plan.trainings) == plan.trained == 2 * (1 + 4) + 2
    # alone: dense 1; imp 3 and 5; a moved mask 6; equal cells count once
    assert plan.unshared == 2 * (1 + 3 + 5 + 6)
    one_way = {"transfer": {"source": ["two"], "sparsities": [0.5]}}
    moved_once = named(plan_of(tmp_path, **sets(tmp_path, "imp", one_way)))
    assert "one:transfer-one@0.5#1" not in moved_once


def test_comparisons_take_the_masks_of_imp(tmp_path):
    techniques = ["imp", {"noise": {"scale": [0.01, 1]}}, "shuffled-layers", "fresh-weights"]
    runs = named(plan_of(tmp_path, **sets(tmp_path, *techniques, "pruned-before")))
    resets = {
        "noise-0.01": ("noise", 0.01), "noise-1": ("noise", 1.0),
        "shuffled-layers": ("shuffle-layers", None), "fresh-weights": ("random", None),
    }  # fmt: skip
    for name, (reset, scale) in resets.items():
        drawn = runs[f"one:{name}@0.5#1"].ticket
        assert drawn.takes_mask and drawn.mask_from == runs["one:imp@0.5#1"]
        assert (drawn.reset, drawn.noise_scale) == (reset, scale)
        assert not runs[f"one:{name}@0.5#1"].keeps_pretrained
    drawn = runs["one:pruned-before@0.5#1"].ticket
    assert drawn.mask_from.pretrained is not None and drawn.start.training == drawn.mask_from
    assert (drawn.sparsity, drawn.takes_mask) == (0.5, False)


@pytest.mark.parametrize(
    "of, rounds",
    [
        ("original", [0.1, 0.2, 0.3, 0.4, 0.5]),
        # the share that is left falls by at most 10 % a round: 0.9 ** 7 is below 0.5
        ("remaining", [1 - 0.5 ** (k / 7) for k in range(1, 8)]),
    ],
)
def test_imp_prunes_a_share_of_the_original_or_of_the_remaining_weights(tmp_path, of, rounds):
    imp = {"imp": {"fraction": 0.1, "of": of, "sparsities": [0.5]}}
    run = named(plan_of(tmp_path, **sets(tmp_path, imp)))["one:imp@0.5#1"]
    found = []
    while run.ticket.mask_from.pretrained is None:
        found.append(run.ticket.sparsity)
        run = run.ticket.mask_from
    assert found[::-1] == pytest.approx(rounds, abs=1e-6)


def test_command_lines_read_the_data_and_the_checkpoint(tmp_path):
    keys = sets(tmp_path, "imp", {"transfer": {"sparsities": [0.5]}})
    work = Work(tmp_path, *keys.pop("techniques"), **keys)
    draws = {stage.folder.rsplit("-", 1)[0]: stage for stage in work.stages if stage.kind == "draw"}
    dense, moved = draws["one/seed1/dense"], draws["two/seed1/global-of-one-rewind0-0.5"]
    assert after(dense, "--mask-from") == after(dense, "--start-from") == str(tmp_path / "pre.pt")
    assert after(dense, "--sparsity") == "0" and dense.needs == ()
    last = after(moved, "--mask-file")
    assert last.startswith("one/seed1/global-rewind0-0.5-") and last in moved.needs
    assert after(moved, "--start-from") == str(tmp_path / "pre.pt")
    train = next(s for s in work.stages if s.kind == "train" and s.folder == moved.folder)
    assert str(tmp_path / "data/two") in train.command and "--ticket" in train.command
    snapshots = [f for stage in work.stages for f in stage.leaves if "/snapshot_0." in f]
    assert not snapshots, "update 0 is the checkpoint itself"


def test_the_written_plan_names_data_sets_and_sources(tmp_path):
    keys = sets(tmp_path, "imp", "transfer")
    work = Work(tmp_path, *keys.pop("techniques"), **keys)
    work.write_plan()
    plan = read_plan(work.out)
    assert [(d.name, d.task) for d in plan.data_sets] == [
        ("one", "masked_lm"),
        ("two", "masked_lm"),
    ]
    assert {t.name: t.source for t in plan.techniques} == {
        "dense": None, "imp": None, "transfer-one": "one", "transfer-two": "two"
    }  # fmt: skip
    assert {cell.data for cell in plan.cells} == {"one", "two"}
    assert all(cell.keeps_start for cell in plan.cells)
    assert json.loads((work.out / "plan.json").read_text())["recipe"]["start"]


def test_cells_are_selected_by_data_set(tmp_path):
    plan = plan_of(tmp_path, **sets(tmp_path, "imp", seeds=[1, 2]))
    names = [cell.name for cell in choose_cells(plan, ["two:imp@0.5"])]
    assert names == ["two:imp@0.5#1", "two:imp@0.5#2"]
    assert len(choose_cells(plan, ["imp@0.5"])) == 4
    with pytest.raises(LotteryError, match="write data:technique with one of one, two"):
        choose_cells(plan, ["three:imp"])


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"data": []}, "data is empty; give a folder, or a list of data sets"),
        ({"data": [{"data": "x"}]}, "data[0].name is missing"),
        ({"data": [{"name": "A b", "data": "x"}]}, "a name of lowercase letters"),
        ({"data": [SETS[0], SETS[0]]}, "two data sets are called one"),
        ({"data": [{**SETS[0], "rewind": 3}]}, "data[0].rewind is unknown"),
        ({"data": [{**SETS[0], "train": "--max-update x"}]}, "--max-update is x, expected"),
        ({"data": [{**SETS[0], "task": "nothing"}]}, "task is 'nothing', expected one of"),
        ({"analyze": {}}, "analyze requires one data set"),
        ({"adopt": {"dense": "old"}}, "adopt and pretrained exclude each other"),
        (
            {"techniques": ["imp", {"transfer": {"source": ["three"]}}]},
            "data set 'three' is unknown; choose one of one, two",
        ),
        (
            {"techniques": [{"transfer": {"source": ["one"]}}]},
            "techniques of data set one lacks imp with seed 1; add it",
        ),
        (
            {"techniques": ["imp", {"transfer": {"sparsities": [0.7], "rounds": [0.7]}}]},
            "imp of one has no mask of sparsity 0.7; add the row there",
        ),
        (
            {"techniques": ["imp", {"transfer": {"masks": "transfer-one"}}]},
            "takes its masks from another technique",
        ),
        ({"techniques": [{"noise": {"scale": [0]}}]}, "a number above 0"),
        ({"techniques": [{"imp": {"of": "all"}}]}, "of: 'all' is unknown"),
        ({"techniques": ["pruned-before"], "pretrained": None}, "write pretrained: FILE"),
        ({"techniques": ["transfer"], "data": "x"}, "transfer requires several data sets"),
    ],
)
def test_what_is_malformed_is_one_sentence(tmp_path, changes, sentence):
    with pytest.raises(LotteryError) as refusal:
        plan_of(tmp_path, **{**sets(tmp_path, "imp"), **changes})
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


def test_errors_name_the_line_of_the_data_set(tmp_path):
    data = [SETS[0], {**SETS[1], "train": "--max-update 400 --optimizer adam"}]
    with pytest.raises(LotteryError) as refusal:
        configure(tmp_path, **sets(tmp_path, "imp", data=data))
    line = int(str(refusal.value).split("line ")[1].split(":")[0])
    text = Path(tmp_path / "small.yaml").read_text().splitlines()
    assert "--optimizer adam" in text[line - 1]


def test_one_set_is_planned_as_before(tmp_path):
    keys = {"sparsities": [0.5], "train": TRAIN}
    alone = plan_of(tmp_path, "slt", **keys)
    assert [cell.name for cell in alone.cells] == ["dense@0#1", "slt@0.5#1"]
    assert all("data" not in run.content for run in alone.trainings)


def test_the_example_shares_what_is_equal(tmp_path):
    """Five tasks and masked words, three seeds: 63 trainings each, of 191 without sharing."""
    plan = make_plan(read_configuration(ROOT / "examples/encoders/transfer.yaml", tmp_path))
    assert (len(plan.cells), plan.trained, plan.unshared) == (207, 3 * 63, 3 * 191)
    assert len({t.data for t in plan.trainings}) == 6


def test_the_example_of_heads_trains_each_choice_once(tmp_path):
    """Two tasks: dense runs and six subnetworks of five seeds, six strategies of three."""
    plan = make_plan(read_configuration(ROOT / "examples/encoders/heads.yaml", tmp_path))
    untrained = 2 * (6 * 5 + (5 * 3 + 2) * 3)
    assert plan.trained == 2 * (7 * 5 + 6 * 3)
    assert len(plan.cells) == plan.trained + untrained


def test_the_example_of_controls_extends_that_of_transfers(tmp_path, monkeypatch):
    """Two tasks of three seeds: full models, four techniques with two rows, and five with one."""
    monkeypatch.setitem(TECHNIQUES, "longer", None)  # forgotten after the test
    path = ROOT / "examples/encoders"
    plans = (make_plan(read_configuration(path / f"{n}.yaml", tmp_path)) for n in
             ("controls", "transfer"))  # fmt: skip
    own, other = map(named, plans)
    shared = {"dense@0", "imp@0.35", "imp@0.7"}
    assert {n.split(":")[1].split("#")[0] for n in own if other.get(n) == own[n]} == shared
    assert len({run.fingerprint for run in own.values()}) == len(own) == 2 * 3 * (1 + 4 * 2 + 4 + 1)
    for data in ("acceptability", "entailment"):
        cells = {n.partition(":")[2]: run for n, run in own.items() if n.startswith(data)}
        full, longer = cells["dense@0#1"], cells["longer@0#1"]
        assert (full.updates, longer.updates) == (320, 960)
        changed = longer.flags.plus("--max-update", 320, "--total-num-update", 320)
        assert longer.ticket == full.ticket and changed.of_weights() == full.flags.of_weights()
        assert cells["imp-t50pc@0.7#1"].ticket.start.update == 160
        standard = cells["standard@0.7#1"]
        assert (standard.ticket.reset, standard.first_update, standard.updates) == ("keep", 0, 320)
        assert standard.ticket.mask_from == cells["standard@0.35#1"]
        mask = cells["imp@0.7#1"].fingerprint
        for control in ("noise-0.3", "shuffled-layers"):
            drawn = cells[f"{control}@0.7#1"].ticket
            assert drawn.takes_mask and drawn.mask_from.fingerprint == mask
            assert drawn.start == full.at(0)
