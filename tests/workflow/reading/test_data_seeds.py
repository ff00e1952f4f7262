"""Children of an update under several orders of the examples, in a configuration."""

import pytest

pytest.importorskip("yaml")

from workflow.made import configure, make_stages, plan_of

from fairseq_lottery.errors import LotteryError

CHILDREN = {"data_seed": [1, 7], "sparsities": [0, 0.8], "rewind": 50}


def test_each_seed_is_a_technique_with_cells_of_its_own(tmp_path):
    requests = configure(tmp_path, {"children": CHILDREN}).requests
    assert [(one.name, one.title, one.options) for one in requests] == [
        ("children-d1", "children of update t, order 1", {"data_seed": 1}),
        ("children-d7", "children of update t, order 7", {"data_seed": 7}),
    ]
    both = {**CHILDREN, "rewind": [0, 50], "name": "kids"}
    names = [one.name for one in configure(tmp_path, {"children": both}).requests]
    assert names == ["kids-d1-t0", "kids-d1-t50", "kids-d7-t0", "kids-d7-t50"]
    alone = configure(tmp_path, {"children": {"data_seed": 7}}).requests
    assert [(one.name, one.options) for one in alone] == [("children", {"data_seed": 7})]


def test_children_share_their_tickets_sources_and_are_trained_in_other_orders(tmp_path):
    plan = plan_of(tmp_path, {"children": {**CHILDREN, "rounds": [0, 0.5, 0.8]}})
    cells = {(c.technique, c.sparsity): c.training for c in plan.cells}
    for sparsity in (0, 0.8):
        one, other = (cells[f"children-d{seed}", sparsity] for seed in (1, 7))
        assert one.ticket == other.ticket and one.fingerprint != other.fingerprint
    # dense, SLT at 50 % between the rows, and two children at each of two rows
    assert len(plan.trainings) == 1 + 1 + 4
    lines = [" ".join(stage.command) for stage in make_stages(plan) if stage.kind == "train"]
    assert sorted(line.count("--data-seed") for line in lines) == [0, 0, 1, 1, 1, 1]
    assert sum(" --data-seed 7 " in f"{line} " for line in lines) == 2


@pytest.mark.parametrize(
    "technique, sentence",
    [
        ({"children": {"data_seed": [7, 1]}}, "data_seed must increase"),
        ({"children": {"data_seed": []}}, "data_seed is empty"),
        ({"children": {"data_seed": -1}}, "data_seed"),
        ({"children": {"sparsities": [-0.5]}}, "0 prunes nothing"),
        ({"slt": {"sparsities": [0, 0.8]}}, "a share between 0 and 1"),
        ({"slt": {"data_seed": [1, 2]}}, "slt has no setting 'data_seed'"),
        ({"nothing": {"data_seed": [1, 2]}}, "technique 'nothing' is unknown"),
    ],
)
def test_what_is_malformed_is_one_sentence(tmp_path, technique, sentence):
    with pytest.raises(LotteryError) as refusal:
        configure(tmp_path, technique)
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)
