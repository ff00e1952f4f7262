"""Tickets that somebody has changed and signed again: whole files whose record is not true."""

import json

import torch
from hostile import containers, watch
from small import Run

from fairseq_lottery.formats import load_ticket, save_ticket

#: what training, pruning and checking read of a record
READ = (
    *("signature", "masters", "moment_numbers", "sparsity", "pruned", "denominator", "clock"),
    "asked",
)
STRANGE = {
    "nothing": None, "a text": "x", "an escape": "\x1b[2J", "a list": [1], "a mapping": {"x": 1},
    "empty": {}, "true": True, "false": False, "zero": 0, "negative": -1, "a fraction": 0.25,
    "huge": 2**62, "1e300": 1e300,
}  # fmt: skip
#: what an entry may be: none of these is another ticket's
FITS = {
    "signature": ("a text",), "masters": ("true", "false"), "asked": ("nothing",),
}  # fmt: skip


def read(path):
    ticket = load_ticket(path)
    return ticket.digest() + json.dumps(ticket.record, sort_keys=True)


def inputs(good):
    """Every strange value of every entry that is read, less of each, and other moments."""
    found = {}
    for name in READ:
        less = {key: value for key, value in good.record.items() if key != name}
        if name != "asked":
            found[f"without {name}"] = good.signed(record=less)
        for what, value in STRANGE.items():
            if what not in FITS.get(name, ()):
                found[f"{name} is {what}"] = good.signed(record={**good.record, name: value})
    for what, value in STRANGE.items():
        if what in ("a text", "an escape", "a list", "a mapping", "empty"):
            for number in (value, {"tensor": value}, {"tensor": 1, "x": value}):
                record = {**good.record, "moment_numbers": {"step": number}}
                found[f"the step {number!r}"] = good.signed(record=record)
    moments = [name for name in good.tensors if name.startswith("moments/exp_avg/")]
    assert moments
    for other in ("foo", "", "step", "exp_avg_sq_row", "state", "__class__"):
        named = {n.replace("/exp_avg/", f"/{other}/", 1): t for n, t in good.tensors.items()}
        found[f"a moment called {other!r}"] = good.signed(named)
    for kind in (torch.int64, torch.uint8, torch.bool):
        whole = {n: t.to(kind) if n in moments else t for n, t in good.tensors.items()}
        found[f"moments of {kind}"] = good.signed(whole)
    return found


def test_every_ticket_that_was_signed_again_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, Run(tmp_path, layers=1).draw(moments="keep", reset="keep"))
    good = containers.Good(path)
    outcomes = watch.run(read, inputs(good), tmp_path, read(path))
    found = watch.judged("ticket signed again", outcomes, least=110)
    assert found["refused"] == len(outcomes)
