import json

import pytest
import torch
from hostile import checkpoints, watch
from hostile.damage import written
from small import full_mask, optimizer_state, save_checkpoint, weights

from fairseq_lottery.formats import read_source
from fairseq_lottery.tickets.inspection import inspect_file


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A checkpoint with a mask and a ticket's record, and with the state of its optimizer."""
    path = tmp_path_factory.mktemp("good") / checkpoints.NAME
    parameters = weights(layers=1)
    save_checkpoint(
        path, parameters, mask=full_mask(layers=1),
        last_optimizer_state=optimizer_state(parameters),
    )  # fmt: skip
    state = torch.load(path, weights_only=False)
    state["task_state"]["lottery"]["ticket"] = {"update": 5, "clock": "restart"}
    return state


def read(path):
    described = {**inspect_file(path), "file": "", "bytes": 0}
    return read_source(path).digest() + json.dumps(described, allow_nan=False)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, :UserWarning")
def test_every_bad_checkpoint_is_refused_in_one_sentence(state, tmp_path):
    pytest.importorskip("omegaconf")
    good = read(written(checkpoints.saved(state), checkpoints.NAME)(tmp_path))
    (tmp_path / checkpoints.NAME).unlink()
    outcomes = watch.run(read, checkpoints.all_of(state), tmp_path, good)
    watch.judged("checkpoint", outcomes, least=250)


def test_references_in_settings_are_not_looked_up(state, tmp_path, monkeypatch):
    """omegaconf would put the environment into the record of every ticket drawn from it."""
    omegaconf = pytest.importorskip("omegaconf")
    monkeypatch.setenv("A_SECRET", "secret")
    section = omegaconf.OmegaConf.create({"arch": "${oc.env:A_SECRET}",
    "encoder_layers": "${gone}"})
    path = checkpoints.lazily(state, "cfg", "model", to=section)(tmp_path)
    found = read_source(path).architecture
    assert found == {"arch": "${oc.env:A_SECRET}", "encoder_layers": "${gone}"}
