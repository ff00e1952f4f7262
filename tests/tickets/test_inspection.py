import json

import torch
from small import (
    EMBEDDING,
    MATRICES,
    PRUNABLE,
    Run,
    full_mask,
    save_checkpoint,
    save_snapshot_of,
    weights,
)

from fairseq_lottery.formats import save_ticket
from fairseq_lottery.masks import Mask
from fairseq_lottery.tickets.inspection import inspect_file

FC1 = "encoder.layers.0.fc1.weight"


def test_a_ticket(tmp_path):
    ticket = Run(tmp_path).draw(reset="sign")
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, ticket)
    found = inspect_file(path)
    assert json.loads(json.dumps(found)) == found
    assert {key: found[key] for key in found if key not in ("matrices", "record")
            and not key.endswith("bytes")} == {
        "file": str(path), "kind": "ticket", "update": 5, "masters": True, "sparsity": 0.5,
        "sha256": None,
        "pruned": 310, "prunable": PRUNABLE, "mask_digest": ticket.mask.digest(),
        "agrees": True, "dead": [], "parameters": 624 + 24 * 4 + 6 * 4 + 4 * 6,
        "patterns": {"2:4": 4, "3:4": 18}, "negative_zeros": 0, "pairs": {},
    }  # fmt: skip
    assert found["record"] == ticket.record
    assert len(found["matrices"]) == MATRICES
    kept = ticket.values[FC1][ticket.mask[FC1]]
    assert found["matrices"][FC1] == {
        "size": 24, "pruned": 12, "density": 0.5, "zero_survivors": 0,
        "negative": float((kept < 0).sum()) / 12, "pattern": None,
    }  # fmt: skip


def test_the_padding_row_is_neither_counted_nor_a_survivor_that_is_zero(tmp_path):
    parameters = weights()
    parameters[EMBEDDING] = -torch.ones(12, 4)
    parameters[EMBEDDING][1] = 0
    parameters[EMBEDDING][5, 0] = 0
    path = save_checkpoint(tmp_path / "checkpoint.pt", parameters, mask=full_mask())
    assert inspect_file(path)["matrices"][EMBEDDING] == {
        "size": 44, "pruned": 0, "density": 1.0, "zero_survivors": 1, "negative": 43 / 44,
        "pattern": None,
    }  # fmt: skip


def test_the_pattern_of_a_ticket_and_of_what_is_trained_from_it(tmp_path):
    run = Run(tmp_path)
    for scope, pattern in (("1:4", "1:4"), ("1:2", "1:2")):
        ticket = run.draw(scope=scope, sparsity=None, keep_dense="fc2|embed")
        path = tmp_path / "ticket.safetensors"
        save_ticket(path, ticket, overwrite=True)
        found = inspect_file(path)
        assert found["patterns"] == {pattern: MATRICES - 5}
        assert {row["pattern"] for row in found["matrices"].values()} == {pattern}
    # zeros alone are looked at in fours, and rows of six do not divide so
    path = save_snapshot_of(tmp_path / "s.safetensors", ticket.values)
    found = inspect_file(path)
    assert found["matrices"]["encoder.layers.0.fc2.weight"]["pattern"] is None
    assert found["matrices"][FC1]["pattern"] == "2:4"
    assert found["patterns"] == {"2:4": MATRICES - 5}


def test_a_dense_file_has_its_zeros_counted(tmp_path):
    parameters = weights()
    parameters[FC1][:4] = 0
    parameters["decoder.layers.1.fc2.weight"].zero_()
    found = inspect_file(save_snapshot_of(tmp_path / "s.safetensors", parameters))
    assert (found["kind"], found["mask_digest"]) == ("snapshot", None)
    assert found["record"]["update"] == found["update"]
    assert (found["pruned"], found["prunable"], found["sparsity"]) == (40, 620, 40 / 620)
    assert found["matrices"][FC1]["pruned"] == 16
    assert found["matrices"][EMBEDDING]["pruned"] == 0, "the padding row is no loss"
    assert found["dead"] == ["decoder.layers.1.fc2.weight"]
    assert found["matrices"]["decoder.layers.1.fc2.weight"]["negative"] == 0.0


def test_weights_where_the_mask_prunes_are_told(tmp_path):
    mask = Mask({FC1: torch.arange(24).reshape(6, 4) >= 12})
    parameters = weights()
    path = save_checkpoint(tmp_path / "checkpoint.pt", parameters, mask=mask)
    assert not inspect_file(path)["agrees"]
    parameters[FC1] = parameters[FC1] * mask[FC1]
    parameters[FC1][5] = 0
    found = inspect_file(save_checkpoint(path, parameters, mask=mask))
    assert found["agrees"] and found["matrices"][FC1]["zero_survivors"] == 4
    assert (found["prunable"], found["pruned"]) == (24, 12)


def test_the_record_of_the_ticket_that_a_checkpoint_was_trained_from(tmp_path):
    task_state = {"lottery": {"ticket": {"signature": "score:magnitude"}}}
    path = save_checkpoint(tmp_path / "checkpoint.pt", weights(), task_state=task_state)
    assert inspect_file(path)["record"] == {"signature": "score:magnitude"}
