import pytest
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import mask_from_state, mask_to_state
from fairseq_lottery.masks import Mask

MASK = Mask({"w": torch.tensor([[True, False, True]]), "e": torch.ones(2, 5).bool()}, {"e": 1})


def test_the_state_is_plain_tensors_and_numbers():
    state = mask_to_state(MASK)
    assert state["shapes"] == {"e": [2, 5], "w": [1, 3]} and state["protected"] == {"e": 1}
    assert {n: bits.tolist() for n, bits in state["bits"].items()} == {"e": [255, 3], "w": [5]}
    assert mask_from_state(state) == MASK


@pytest.mark.parametrize(
    "change",
    [
        {"bits": None},
        {"bits": {"w": [5]}},
        {"bits": {"w": torch.tensor([13], dtype=torch.uint8)}},
        {"bits": {"w": torch.tensor([5])}},
        {"bits": {}},
        {"shapes": {"w": [1, 3]}},
        {"shapes": {"w": "1,3", "e": [2, 5]}},
        {"protected": {"e": "1"}},
        {"protected": {"e": 2}},
    ],
)
def test_a_malformed_state_is_refused(change):
    with pytest.raises(LotteryError, match="the stored mask is malformed: "):
        mask_from_state({**mask_to_state(MASK), **change})


def test_a_state_that_is_none_is_refused():
    with pytest.raises(LotteryError, match="the stored mask is malformed: 'bits'"):
        mask_from_state({})
