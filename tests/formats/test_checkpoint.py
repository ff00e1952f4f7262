from argparse import Namespace
from collections import OrderedDict

import pytest
import torch
from small import full_mask, load, optimizer_state, save_checkpoint, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.checkpoint import (
    read_checkpoint,
    refuse_not_finite,
)
from fairseq_lottery.formats.checkpoints.settings import settings_of

NAME = "encoder.layers.0.fc1.weight"


class Rebuilt:
    """Pickled as a tensor of any shape over four numbers."""

    def __init__(self, shape, stride):
        self.shape, self.stride = shape, stride

    def __reduce__(self):
        storage = torch.storage.TypedStorage(
            wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
        )
        call = (storage, 0, self.shape, self.stride, False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, call


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


def test_a_whole_checkpoint(path):
    whole = optimizer_state(weights())
    whole["lottery"]["masters"] = weights()
    save_checkpoint(path, weights(), mask=full_mask(), last_optimizer_state=whole)
    state = read_checkpoint(path)
    assert state["cfg"]["model"]["arch"] == "transformer"
    assert torch.equal(state["model"][NAME], weights()[NAME])


@pytest.mark.parametrize(
    "change, why",
    [
        ({"model": {NAME: torch.empty(2**20, 2**20, device="meta")}}, "requires torch._utils._re"),
        ({"model": {NAME: Rebuilt((2**20, 2**20), (0, 0))}}, f"'{NAME}', which is not a"),
        ({"model": {NAME: torch.ones(2, dtype=torch.complex64)}}, "not a plain tensor"),
        ({"model": {1: torch.ones(2)}}, "its model has the invalid name 1"),
        ({"task_state": [1]}, "its task_state is a list"),
        ({"task_state": {"lottery": {"ticket": {"x": {1}}}}}, "lottery.ticket holds a set"),
        ({"task_state": {"lottery": {"mask": torch.ones(2)}}}, "lottery.mask is a Tensor"),
        ({"cfg": {"model": "x"}}, "its cfg.model is 'x'"),
        ({"optimizer_history": [{"num_updates": "x"}]}, "optimizer_history.0..num_updates is"),
        ({"last_optimizer_state": {"lottery": {"names": ["a"]}}}, "1 names and 0 shapes"),
        ({"last_optimizer_state": {"lottery": {"masters": {NAME: torch.ones(4, 6)}}}},
         f"its master of {NAME} has shape .4, 6."),
    ],
)  # fmt: skip
def test_what_fairseq_does_not_write_is_refused(path, change, why):
    if isinstance(change.get("model", {}).get(NAME), Rebuilt) and not hasattr(
        torch.Tensor, "untyped_storage"
    ):
        pytest.skip("torch 1.12 cannot pickle a tensor that is rebuilt otherwise")
    parameters = weights()
    state = load(save_checkpoint(path, parameters))
    torch.save({**state, **change}, path)
    with pytest.raises(LotteryError, match=why):
        read_checkpoint(path)


def test_one_tensor_under_a_thousand_names_is_refused(path):
    shared = torch.ones(100_000)
    torch.save({"model": {f"w{n}": shared for n in range(3)}}, path)
    assert len(read_checkpoint(path)["model"]) == 3, "as tied embeddings are"
    torch.save({"model": {f"w{n}": shared for n in range(1000)}}, path)
    with pytest.raises(LotteryError, match="its model exceeds 32 times"):
        read_checkpoint(path)


def test_settings_that_hold_themselves_are_refused(path):
    settings = Namespace(arch="transformer")
    settings.inner = settings
    save_checkpoint(path, weights(), args=settings)
    with pytest.raises(LotteryError, match="its configuration is nested too deeply"):
        read_checkpoint(path)


def test_settings_in_all_their_forms():
    assert settings_of(Namespace(a=1)) == settings_of({"a": 1}) == {"a": 1}
    assert settings_of(None) == {}
    omegaconf = pytest.importorskip("omegaconf")
    section = omegaconf.OmegaConf.create({"a": "${oc.env:HOME}", "b": [1]})
    assert settings_of(section) == {"a": "${oc.env:HOME}", "b": [1]}, "nothing is looked up"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_refused(value):
    refuse_not_finite({"a": torch.ones(2), "b": torch.zeros(0)}, "c.pt")
    with pytest.raises(LotteryError, match="^c.pt: b has entries that are NaN or infinite"):
        refuse_not_finite({"a": torch.ones(2), "b": torch.tensor([1.0, value])}, "c.pt")
