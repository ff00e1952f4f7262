"""Tickets whose heads and FFN units are pruned."""

from dataclasses import replace

import pytest
import torch
from small import (
    EMBEDDING,
    FFN,
    PRUNABLE,
    SHAPES,
    Run,
    full_mask,
    optimizer_state,
    save_checkpoint,
    weights,
)

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import load_ticket, read_source, save_ticket
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import find_pruned, restrict
from fairseq_lottery.masks import count_to_prune
from fairseq_lottery.tickets import DrawPlan, draw
from fairseq_lottery.tickets.inspection import inspect_file

HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
ANATOMY = Anatomy.of(SHAPES, HEADS)
ENC, CROSS = "encoder.layers.0", "decoder.layers.1.encoder_attn"
CLOSED = {"heads": {CROSS: [1], f"{ENC}.self_attn": [0]}, "units": {ENC: [2, 3]}}
CONFIG = {"model": {"arch": "transformer", **HEADS}, "task": {}}
#: 3 x 2 rows of 4 weights and 2 columns of 4 for a head, a row and a column of 4 for a unit
PRUNED = 2 * (3 * 2 * 4 + 2 * 4) + 2 * (4 + 4)


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path)
    save_checkpoint(
        made.last, made.trained, cfg=CONFIG, last_optimizer_state=optimizer_state(made.trained)
    )
    return made


@pytest.fixture
def file(tmp_path):
    """Writes components and returns the path."""

    def written(components, name="parts"):
        save_choice(tmp_path / f"{name}.json", components, {"strategy": "by hand"}, overwrite=True)
        return str(tmp_path / f"{name}.json")

    return written


def test_components_alone(run, file):
    components = ComponentMask(ANATOMY, CLOSED)
    ticket = draw(replace(run.plan, sparsity=None, components=file(components)))
    assert ticket.mask.pruned == PRUNED
    assert find_pruned(ticket.mask, ANATOMY) == components == find_pruned(ticket.values, ANATOMY)
    for name in ("q_proj", "k_proj", "v_proj"):
        assert ticket.values[f"{CROSS}.{name}.bias"].nonzero().flatten().tolist() == [0, 1]
    out = f"{CROSS}.out_proj.bias"
    assert torch.equal(ticket.values[out], run.early[out])
    record = ticket.record
    assert record["parts"]["closed"] == {"heads": [2, 12], "units": [2, 4 * FFN], "blocks": [0, 4]}
    assert record["parts"]["made"] == {"strategy": "by hand"}
    assert record["parts"]["digest"] == components.digest() and record["asked"] is None
    assert record["signature"].startswith("score:parts|closed-heads:2/12|closed-units:2/24|scope:")


def test_it_is_a_ticket_like_any_other(run, file, tmp_path):
    ticket = draw(replace(run.plan, sparsity=None, components=file(ComponentMask(ANATOMY, CLOSED))))
    path = tmp_path / "t.safetensors"
    save_ticket(path, ticket)
    again = load_ticket(path)
    assert again.mask == ticket.mask and again.record == ticket.record
    found = inspect_file(path)
    assert found["agrees"] and found["pruned"] == PRUNED


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.8])
def test_with_a_sparsity_that_share_of_each_open_matrix_goes(run, file, sparsity, tmp_path):
    """Half of the heads and a third of the units: no matrix has too much pruned already."""
    heads = {name: [0] for name in ANATOMY.heads}
    components = ComponentMask(
        ANATOMY, {"heads": heads, "units": {name: [1, 4] for name in ANATOMY.units}}
    )
    gone = restrict(full_mask(), components, SHAPES)
    ticket = draw(replace(run.plan, sparsity=sparsity, components=file(components)))
    assert gone.pruned == 6 * (4 * 8) + 4 * 2 * (2 * 4)
    for name, keep in ticket.mask.items():
        left = run.trained[name].abs()[gone[name]]
        if name == EMBEDDING:
            left = run.trained[name][torch.arange(len(keep)) != 1].abs().reshape(-1)
        few = count_to_prune(sparsity, len(left))
        assert ticket.mask.pruned_in(name) == gone.pruned_in(name) + few
        kept = run.trained[name].abs()[keep].sort().values
        assert torch.equal(kept[-(len(left) - few) :], left.sort().values[few:]), name
    assert ticket.mask.is_subset_of(gone)
    record = ticket.record
    assert (record["asked"], record["parts"]["weights"]) == (sparsity, gone.pruned)
    assert record["sparsity"] == ticket.mask.pruned / PRUNABLE
    save_ticket(tmp_path / "t.safetensors", ticket)
    assert load_ticket(tmp_path / "t.safetensors").mask == ticket.mask


def test_the_next_round_prunes_on_in_what_is_open(run, file, tmp_path):
    path = file(ComponentMask(ANATOMY, {"heads": {name: [0] for name in ANATOMY.heads}}))
    first = draw(replace(run.plan, sparsity=0.5, components=path))
    trained = {name: value + (value != 0) for name, value in first.values.items()}
    again = save_checkpoint(tmp_path / "again.pt", trained, mask=first.mask, cfg=CONFIG)
    second = draw(replace(run.plan, mask_from=again, sparsity=0.75, components=path))
    assert second.mask.is_subset_of(first.mask)
    name = f"{CROSS}.q_proj.weight"  # 16 weights, 8 of them open
    assert [one.mask.pruned_in(name) for one in (first, second)] == [8 + 4, 8 + 6]
    with pytest.raises(LotteryError, match="12 weights of .* exceeds the 10 of"):
        draw(replace(run.plan, mask_from=again, sparsity=0.25, components=path))


def test_a_record_of_other_pruned_weights_is_refused(run, file, tmp_path):
    """Without the number, as in tickets of before, it is the share of all weights that is held."""
    ticket = draw(replace(run.plan, sparsity=0.5, components=file(ComponentMask(ANATOMY, CLOSED))))
    path, components = tmp_path / "t.safetensors", ticket.record["parts"]
    for number in (PRUNED + 80, -1, ticket.mask.pruned + 1, "80", True, None):
        record = {**ticket.record, "parts": {**components, "weights": number}}
        save_ticket(path, replace(ticket, record=record))
        with pytest.raises(LotteryError, match="t.safetensors is malformed"):
            load_ticket(path)
    old = {key: value for key, value in components.items() if key != "weights"}
    asked = ticket.mask.sparsity
    save_ticket(path, replace(ticket, record={**ticket.record, "asked": asked, "parts": old}))
    assert load_ticket(path).mask == ticket.mask


def test_under_one_threshold_it_is_a_share_of_all_that_is_open(run, file):
    components = ComponentMask(ANATOMY, CLOSED)
    ticket = draw(replace(run.plan, sparsity=0.8, scope="global", components=file(components)))
    assert ticket.mask.pruned == PRUNED + count_to_prune(0.8, PRUNABLE - PRUNED)
    pruned = find_pruned(ticket.mask, ANATOMY)
    for kind in KINDS:  # the draw keeps every pruned component pruned
        assert set(components.pruned(kind)) <= set(pruned.pruned(kind))
    inside = draw(replace(run.plan, sparsity=0.8, scope="global"))
    assert ticket.mask != inside.mask


def test_rounds_only_prune_more(run, file, tmp_path):
    """A second draw from a run under the first ticket keeps its components pruned."""
    first = draw(replace(run.plan, sparsity=None, components=file(ComponentMask(ANATOMY, CLOSED))))
    trained = {name: value + (value != 0) for name, value in first.values.items()}
    again = save_checkpoint(tmp_path / "again.pt", trained, mask=first.mask, cfg=CONFIG)
    more = ComponentMask(ANATOMY, {"heads": {"encoder.layers.1.self_attn": [1]}}, "zero")
    second = draw(DrawPlan(mask_from=again, components=file(more, "more")))
    both = ComponentMask(ANATOMY, CLOSED).without("heads", more.pruned("heads"))
    assert find_pruned(second.mask, ANATOMY) == both
    assert second.mask.is_subset_of(first.mask)


def test_even_heads_stay_even_when_their_biases_come_back(run, file, tmp_path):
    components = ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [0]}}, "uniform")
    first = draw(replace(run.plan, sparsity=None, components=file(components)))
    biases = [f"{ENC}.self_attn.{p}_proj.bias" for p in ("q", "k", "v")]
    assert [bool(first.values[name][:2].any()) for name in biases] == [False, False, True]
    again = save_checkpoint(tmp_path / "again.pt", first.values, mask=first.mask, cfg=CONFIG)
    # global, so that the pruned rows may be more than half of their matrix
    plan = replace(run.plan, mask_from=again, sparsity=0.3, scope="global")
    second = draw(plan)
    assert [bool(second.values[name][:2].any()) for name in biases] == [False, False, True]
    assert bool(run.early[biases[0]][:2].all())  # where they came from


def test_kept_moments_do_not_move_them_either(run, file):
    plan = replace(
        run.plan, sparsity=None, components=file(ComponentMask(ANATOMY, CLOSED)), start_from=None
    )
    ticket = draw(replace(plan, reset="keep", moments="keep"))
    for moment in ticket.moments.values():
        assert moment[f"{CROSS}.q_proj.bias"].nonzero().flatten().tolist() == [0, 1]
        assert not moment[f"{CROSS}.q_proj.weight"][2:].any()
        assert moment[f"{ENC}.fc1.bias"].nonzero().flatten().tolist() == [0, 1, 4, 5]


def test_a_mask_file_and_components(run, file, tmp_path):
    first = draw(run.plan)
    save_ticket(tmp_path / "first.safetensors", first)
    plan = replace(run.plan, sparsity=None, mask_file=str(tmp_path / "first.safetensors"))
    both = draw(replace(plan, components=file(ComponentMask(ANATOMY, CLOSED))))
    assert both.mask.is_subset_of(first.mask) and both.mask.pruned > first.mask.pruned
    assert both.record["parts"]["closed"]["heads"] == [2, 12]


def test_tickets_that_are_drawn_on_say_that_their_mask_prunes_components(run, file, tmp_path):
    plan = replace(
        run.plan, sparsity=None, components=file(ComponentMask(ANATOMY, CLOSED)), start_from=None
    )
    plan, first = replace(plan, reset="keep"), tmp_path / "first.safetensors"
    save_ticket(first, draw(plan))
    again = replace(plan, mask_from=str(first), components=None, sparsity=0.9)
    second = draw(again)
    assert not second.record.get("parts")
    assert second.record["closes"] and "closes" not in load_ticket(first).record
    save_ticket(tmp_path / "second.safetensors", second)
    third = replace(plan, mask_file=str(tmp_path / "second.safetensors"), components=None)
    assert draw(third).record["closes"]
    assert "closes" not in draw(run.plan).record


def test_unstructured_tickets_keep_all_their_biases(run):
    """Heads that die by chance are no pruned heads: what is never pruned comes from the start."""
    ticket = draw(replace(run.plan, sparsity=0.97, scope="global"))
    for name, value in ticket.values.items():
        if name.endswith(".bias"):
            assert torch.equal(value, run.early[name])


def test_bad_components(run, file, tmp_path):
    other = Anatomy.of(SHAPES, {**HEADS, "encoder_attention_heads": 4})
    with pytest.raises(LotteryError, match="other heads or FFN units"):
        draw(replace(run.plan, components=file(ComponentMask(other, {}))))
    with pytest.raises(LotteryError, match="prunable set leaves it dense"):
        draw(
            replace(
                run.plan,
                components=file(ComponentMask(ANATOMY, CLOSED)),
                prunable="ffn",
                sparsity=0.5,
            )
        )
    with pytest.raises(LotteryError, match="cannot be read"):
        draw(replace(run.plan, components=str(tmp_path / "none.json")))
    plain = save_checkpoint(tmp_path / "plain.pt", weights(3))
    with pytest.raises(
        LotteryError, match="plain.pt: the number of heads of encoder.layers.0.self_attn is unknown"
    ):
        draw(replace(run.plan, mask_from=plain, components=file(ComponentMask(ANATOMY, CLOSED))))
    with pytest.raises(LotteryError, match="give --sparsity, --mask-file or --components"):
        DrawPlan(mask_from=run.last)
    assert read_source(run.last).mask is None
