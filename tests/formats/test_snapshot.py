import pytest
import torch
from small import DICTIONARIES, full_mask, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container, load_snapshot, save_snapshot

RECORD = {"update": 5, "masters": True}


@pytest.mark.parametrize("mask", [None, full_mask()], ids=["dense", "masked"])
@pytest.mark.parametrize("dictionaries", [None, DICTIONARIES], ids=["no dictionary", "dictionary"])
def test_what_is_saved_is_loaded(tmp_path, mask, dictionaries):
    path = tmp_path / "snapshot.safetensors"
    save_snapshot(path, weights(), mask, dictionaries, RECORD)
    found = load_snapshot(path)
    assert found["record"] == RECORD and "mask" not in RECORD
    assert (found["mask"], found["dictionaries"]) == (mask, dictionaries)
    assert found["weights"].keys() == weights().keys()
    assert all(torch.equal(found["weights"][n], w) for n, w in weights().items())
    assert container.kind_of(path) == "snapshot"


def test_a_ticket_or_an_unknown_part_is_refused(tmp_path):
    path = tmp_path / "snapshot.safetensors"
    container.save(path, "ticket", {"weights/w": torch.ones(1)}, RECORD)
    with pytest.raises(LotteryError, match="is a ticket, not a snapshot"):
        load_snapshot(path)
    container.save(path, "snapshot", {"values/w": torch.ones(1)}, RECORD)
    with pytest.raises(LotteryError, match="has an unknown entry 'values/w'"):
        load_snapshot(path)
