import pytest
import torch
from small import optimizer_state

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.optimizer_moments import read_moments

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


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"names": ["w", "w"]}, "are not unique"),
        ({"names": ["b", "w"]}, r"has b with shape \(2, 2\)"),
        ({"shapes": [[4], [1]]}, r"has w with shape \(4,\)"),
    ],
)
def test_parameters_that_are_not_the_models(changes, why):
    state = optimizer_state(WEIGHTS)
    state["lottery"].update(changes)
    with pytest.raises(LotteryError, match=f"run.pt is malformed .*{why}"):
        read_moments({"last_optimizer_state": state, "model": WEIGHTS}, "run.pt")


def test_a_criterions_own_parameter():
    """It is the optimizer's, and not in the model."""
    state = optimizer_state({**WEIGHTS, "other.2": torch.ones(3)})
    moments = read_moments({"last_optimizer_state": state, "model": WEIGHTS}, "run.pt")[0]
    assert moments["exp_avg_sq"]["other.2"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("size", [1, 4, 6])
def test_a_flat_state_of_another_length(size):
    state = optimizer_state(WEIGHTS)
    state["state"] = {0: {"step": 7, "exp_avg": torch.ones(5), "exp_avg_sq": torch.ones(size)}}
    with pytest.raises(LotteryError, match=rf"exp_avg_sq has shape \({size},\)"):
        read_moments({"last_optimizer_state": state}, "run.pt")


def test_a_state_of_another_shape():
    state = optimizer_state(WEIGHTS)
    state["state"][0]["exp_avg"] = torch.ones(2, 3)
    with pytest.raises(LotteryError, match=r"exp_avg has shape \(2, 3\)"):
        read_moments({"last_optimizer_state": state}, "run.pt")


def test_factored_moments_are_refused():
    state = optimizer_state(WEIGHTS)
    state["state"][0] = {"step": 1, "exp_avg_sq_row": torch.ones(2)}
    with pytest.raises(
        LotteryError, match="exp_avg_sq_row is factored and cannot be kept per weig"
    ):
        read_moments({"last_optimizer_state": state}, "run.pt")
