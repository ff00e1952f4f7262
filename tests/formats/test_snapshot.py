import pytest
import torch
from small import DICTIONARIES, full_mask, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container, read_source, save_snapshot

RECORD = {"update": 5, "masters": True}


@pytest.mark.parametrize("mask", [None, full_mask()], ids=["dense", "masked"])
@pytest.mark.parametrize("dictionaries", [None, DICTIONARIES], ids=["no dictionary", "dictionary"])
def test_what_is_saved_is_loaded(tmp_path, mask, dictionaries):
    path = tmp_path / "snapshot.safetensors"
    save_snapshot(path, weights(), mask, dictionaries, RECORD)
    found = read_source(path)
    assert found.record == RECORD and "mask" not in RECORD
    assert (found.mask, found.in_file) == (mask, dictionaries)
    assert found.weights.keys() == weights().keys()
    assert all(torch.equal(found.weights[n], w) for n, w in weights().items())
    assert container.kind_of(path) == "snapshot"


def test_an_unknown_part_is_refused(tmp_path):
    path = tmp_path / "snapshot.safetensors"
    container.save(path, "snapshot", {"values/w": torch.ones(1)}, RECORD)
    with pytest.raises(LotteryError, match="unknown entry 'values/w'"):
        read_source(path)
