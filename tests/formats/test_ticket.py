import json
import struct
from dataclasses import replace

import pytest
import torch
from small import DICTIONARIES, EMBEDDING, SHAPES, Run, pair_of

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Ticket, container, load_ticket, save_ticket
from fairseq_lottery.masks import Mask

FC1 = "encoder.layers.0.fc1.weight"


@pytest.fixture
def ticket(tmp_path):
    return Run(tmp_path).draw(sparsity=0.9, reset="keep", moments="keep")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ticket.safetensors"


def test_what_is_saved_is_loaded(ticket, path):
    save_ticket(path, ticket)
    again = load_ticket(path)
    assert again.mask == ticket.mask and again.record == ticket.record
    assert again.dictionaries == ticket.dictionaries == DICTIONARIES
    assert again.digest() == ticket.digest(), "values and moments, to the bit"
    assert all(torch.equal(again.values[name], ticket.values[name]) for name in SHAPES)
    save_ticket(path.with_name("again"), again)
    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_the_file_holds_survivors_and_bits_only(ticket, path):
    save_ticket(path, replace(ticket, moments={}))
    content = path.read_bytes()
    header = struct.unpack("<Q", content[:8])[0]
    bits = sum((keep.numel() + 7) // 8 for keep in ticket.mask.values())
    in_matrices = sum(keep.numel() for keep in ticket.mask.values())
    dense = sum(value.numel() for value in ticket.values.values()) - in_matrices
    survivors = in_matrices - ticket.mask.pruned
    symbols = len("\n".join(DICTIONARIES["source"]))  # source and target are equal: stored once
    # nine tenths of 24 square matrices, 8 of the FFN and the embedding's 44
    assert (in_matrices, ticket.mask.pruned) == (624, 24 * 14 + 8 * 22 + 40)
    assert len(content) == 8 + header + bits + 4 * (survivors + dense) + symbols


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", [FC1, "encoder.layers.0.fc1.bias"])
def test_values_that_are_not_finite_are_refused(ticket, name, bad):
    ticket.values[name].reshape(-1)[0] = bad
    with pytest.raises(
        LotteryError, match=f"the ticket's {name} has entries that are NaN or infin"
    ):
        replace(ticket)


def test_moments_that_are_not_finite_are_refused(ticket):
    ticket.moments["exp_avg"][FC1][0, 0] = float("nan")
    with pytest.raises(LotteryError, match=f"the ticket's exp_avg of {FC1} has entries that are"):
        replace(ticket)


def test_a_mask_that_disagrees_with_the_weights_is_refused(ticket):
    ticket.values[FC1][~ticket.mask[FC1]] = 1e-30
    with pytest.raises(LotteryError, match=f"the ticket's {FC1} has nonzero weights"):
        replace(ticket)


def test_a_file_whose_mask_and_values_disagree_is_refused(ticket, path):
    save_ticket(path, ticket)
    tensors, record = container.load(path, "ticket")
    more = {**tensors, f"mask/{FC1}": torch.full((3,), 255, dtype=torch.uint8)}
    container.save(path, "ticket", more, record)
    with pytest.raises(LotteryError, match=f"expected 24 kept weights of {FC1}, the file has 2"):
        load_ticket(path)
    container.save(path, "ticket", {**tensors, f"values/{FC1}": torch.ones(6, 4)}, record)
    with pytest.raises(LotteryError, match=f"expected 2 kept weights of {FC1}, the file has 24"):
        load_ticket(path)
    container.save(
        path, "ticket", {**tensors, f"values/{FC1}": torch.tensor([1, float("nan")])}, record
    )
    with pytest.raises(LotteryError, match=f"{FC1} has entries that are NaN or infinite"):
        load_ticket(path)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            lambda t, r: t.pop(f"values/{FC1}"),
            f"the mask prunes {FC1}, which the model does not have",
        ),
        (lambda t, r: t.pop("dictionary/source"), "dictionaries are not source and target"),
        (lambda t, r: t.update({"other/x": torch.ones(1)}), "unknown entry 'other/x'"),
        (lambda t, r: r.pop("mask"), "is malformed .'mask'"),
        (lambda t, r: r["mask"]["shapes"].pop(FC1), "the stored mask is malformed"),
        (lambda t, r: r.pop("clock"), "is malformed .'clock'"),
        (lambda t, r: r.update(clock="stop"), "has an unknown update counter 'stop'"),
    ],
)
def test_a_file_with_something_missing_or_unknown_is_refused(ticket, path, change, sentence):
    save_ticket(path, ticket)
    tensors, record = container.load(path, "ticket")
    change(tensors, record)
    container.save(path, "ticket", tensors, record)
    with pytest.raises(LotteryError, match=sentence):
        load_ticket(path)


@pytest.mark.parametrize(
    "change, sentence",
    [
        *(
            ({name: None}, f"its record has no {name}")
            for name in ("signature", "masters", "moment_numbers", "sparsity", "pruned")
        ),
        ({"signature": 3}, "its signature is 3"),
        ({"moment_numbers": {"step": {"x": 1}}}, "its optimizer's step is {'x': 1}"),
        ({"moment_numbers": {"step": "abc"}}, "its optimizer's step is 'abc'"),
        ({"moment_numbers": {"step": {"tensor": "x"}}}, "its optimizer's step is 'x'"),
        ({"sparsity": 0.1}, "its sparsity is 0.1, expected 0.89"),
        ({"asked": 0.1}, "its asked is 0.1, expected 0.89"),
        ({"pruned": 5}, "has 5 of 620 weights pruned, expected 552 of 620"),
        ({"denominator": 600}, "has 552 of 600 weights pruned"),
    ],
    ids=str,
)
def test_a_record_that_is_not_true_is_refused(ticket, path, change, sentence):
    """Training reads it: without an entry it would end in a traceback, or grow a mask wrongly."""
    record = {name: value for name, value in {**ticket.record, **change}.items()
              if value is not None}  # fmt: skip
    save_ticket(path, replace(ticket, record=record))
    with pytest.raises(LotteryError, match=f"is malformed .*{sentence}"):
        load_ticket(path)


def test_numbers_of_any_optimizer_are_taken(ticket, path):
    numbers = {"step": {"tensor": 7.0}, "RMS": 1.5, "momentum_buffer": None}
    save_ticket(path, replace(ticket, record={**ticket.record, "moment_numbers": numbers}))
    assert load_ticket(path).record["moment_numbers"] == numbers


def test_moments_that_no_optimizer_keeps_are_refused(ticket, path):
    foo = {"foo": {name: torch.zeros_like(value) for name, value in ticket.values.items()}}
    save_ticket(path, replace(ticket, moments=foo))
    with pytest.raises(LotteryError, match="is malformed .unknown optimizer state 'foo'"):
        load_ticket(path)
    whole = {"exp_avg": {n: torch.zeros_like(v).long() for n, v in ticket.values.items()}}
    save_ticket(path, replace(ticket, moments=whole))
    with pytest.raises(LotteryError, match=r"is malformed .* is torch.int64\)"):
        load_ticket(path)


def test_malformed_tickets_are_refused(ticket, path):
    """Every byte of a file is tried in test_container.py; here some of a whole ticket."""
    save_ticket(path, ticket)
    content = path.read_bytes()
    for position in range(0, len(content), len(content) // 40):
        for malformed in (
            content[:position],
            content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :],
        ):
            path.write_bytes(malformed)
            with pytest.raises(LotteryError, match=str(path)):
                load_ticket(path)


def test_a_snapshot_is_no_ticket(tmp_path):
    with pytest.raises(LotteryError, match="is a snapshot, not a ticket"):
        load_ticket(Run(tmp_path).snapshot_5)


def test_an_interrupted_write_leaves_the_old_ticket(ticket, path, monkeypatch):
    save_ticket(path, ticket)
    before = path.read_bytes()

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(container, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_ticket(path, replace(ticket, moments={}))
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize(
    "shapes, sentence",
    [
        (
            {EMBEDDING: (13, 4)},
            rf"{EMBEDDING} has shape \(12, 4\) in the ticket and \(13, 4\) in the",
        ),
        (
            {FC1: None, EMBEDDING: None},
            f"the ticket has {EMBEDDING}, which the model does not have",
        ),
        (
            {"decoder.layers.2.fc1.weight": (6, 4)},
            "the model has decoder.layers.2.fc1.weight, which",
        ),
        ({FC1: (8, 4), "encoder.layers.0.fc1.bias": (8,)}, "encoder.layers.0.fc1.bias has shape"),
    ],
)
def test_another_model_is_refused_by_its_first_difference(ticket, shapes, sentence):
    ticket.refuse_model(SHAPES)
    other = {name: shape for name, shape in {**SHAPES, **shapes}.items() if shape is not None}
    with pytest.raises(LotteryError, match=sentence):
        ticket.refuse_model(other)


def small_ticket(**record):
    mask = Mask({"w": torch.tensor([[True, False]])})
    values = {"w": torch.tensor([[2.0, 0.0]])}
    return Ticket(mask, values, record, pair_of(("a",), ("b",)), {})


@pytest.mark.parametrize(
    "counter, update, start", [("restart", 5, 0), ("rewind", 5, 5), ("restart", None, 0)]
)
def test_the_first_update(counter, update, start):
    assert small_ticket(clock=counter, update=update).first_update == start


def test_a_ticket_file_is_fixed(path):
    """Format 1, to the byte: what is written today is read tomorrow, on both stacks."""
    save_ticket(path, small_ticket(clock="restart", update=5))
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    ours = json.loads(header.pop("__metadata__")["fairseq_lottery"])
    assert ours == {
        "kind": "ticket",
        "version": 1,
        "record": {
            "clock": "restart",
            "update": 5,
            "mask": {"shapes": {"w": [1, 2]}, "protected": {}},
        },
        "digest": "dd24b505c72bc3637708c25fc3544c30f5a36f36cddff08e1173beae5d7820f7",
    }
    assert {name: entry["shape"] for name, entry in header.items()} == {
        "values/w": [1], "mask/w": [1], "dictionary/source": [1], "dictionary/target": [1],
    }  # fmt: skip
    assert content[8 + length :] == struct.pack("<f", 2.0) + b"a" + b"b" + b"\x01"


def test_moments_of_another_model_are_refused(ticket):
    bias = "encoder.layers.0.fc1.bias"
    for name, moment in ((bias, torch.ones(5)), ("x", torch.ones(6))):
        moments = {"exp_avg": {**ticket.moments["exp_avg"], name: moment}}
        with pytest.raises(LotteryError, match=f"exp_avg of {name} has shape"):
            replace(ticket, moments=moments)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_weights_that_are_whole_numbers_are_refused(ticket, path, dtype):
    """Under a digest that fits: training would start from them, rounded."""
    save_ticket(path, ticket)
    tensors, record = container.load(path, "ticket")
    name = "values/encoder.layers.0.fc1.bias"
    container.save(path, "ticket", {**tensors, name: tensors[name].to(dtype)}, record)
    with pytest.raises(LotteryError, match="is malformed .encoder.layers.0.fc1.bias is torch"):
        load_ticket(path)
