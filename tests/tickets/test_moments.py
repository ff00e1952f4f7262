import pytest
import torch
from small import optimizer_state

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.tickets.moments import read_moments

WEIGHTS = {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([5.0])}


def checked(state):
    moments, numbers = read_moments({"last_optimizer_state": state}, "run.pt")
    assert torch.equal(moments["exp_avg"]["w"], WEIGHTS["w"] / 5)
    assert moments["exp_avg_sq"]["b"].tolist() == [25.0]
    assert set(moments) == {"exp_avg", "exp_avg_sq"} and set(moments["exp_avg"]) == {"w", "b"}
    return numbers


def test_one_state_per_parameter():
    assert checked(optimizer_state(WEIGHTS, step=7)) == {"step": 7}


def test_a_step_that_is_a_tensor_stays_one():
    assert checked(optimizer_state(WEIGHTS, step=torch.tensor(7.0))) == {"step": {"tensor": 7.0}}


def test_one_flat_state_for_all_parameters():
    state = optimizer_state(WEIGHTS, step=7)
    flat = torch.tensor([1.0, 2, 3, 4, 5])
    state["state"] = {0: {"step": 7, "exp_avg": flat / 5, "exp_avg_sq": flat**2}}
    assert checked(state) == {"step": 7}


@pytest.mark.parametrize(
    "state", [None, {}, {"state": {}}, {"state": {0: {"step": 1}}}, {"state": {}, "lottery": None}]
)
def test_an_optimizer_that_says_nothing_of_parameters_is_refused(state):
    with pytest.raises(LotteryError, match="run.pt has no optimizer state of a masked optimizer"):
        read_moments({"last_optimizer_state": state}, "run.pt")
    with pytest.raises(LotteryError, match="has no optimizer state"):
        read_moments({}, "run.pt")


def test_factored_moments_are_refused():
    state = optimizer_state(WEIGHTS)
    state["state"][0] = {"step": 1, "exp_avg_sq_row": torch.ones(2)}
    with pytest.raises(
        LotteryError, match="exp_avg_sq_row is factored and cannot be kept per weig"
    ):
        read_moments({"last_optimizer_state": state}, "run.pt")
