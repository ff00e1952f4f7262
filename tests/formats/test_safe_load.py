import argparse
import builtins
import collections
import os
import pickle

import numpy as np
import pytest
import torch

from fairseq_lottery.formats.checkpoints.safe_load import (
    allow_fairseq_checkpoints,
    refuse_code,
    safe_classes,
    safe_load,
)

HAS_SAFE_GLOBALS = hasattr(torch.serialization, "safe_globals")


@pytest.fixture(params=["torch's loader", "ours"])
def loader(request, monkeypatch):
    """Both ways to load: torch's own safe loader, and the one for torch before 2.5."""
    if request.param == "ours":
        monkeypatch.delattr(torch.serialization, "safe_globals", raising=False)
    elif not HAS_SAFE_GLOBALS:
        pytest.skip("this torch has no safe loader that can be told what else is safe")


DATA = {
    "tensors": [
        torch.tensor([1.5]).to(dtype)
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool)
    ],
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "ordered": collections.OrderedDict(a=1),
    "namespace": argparse.Namespace(arch="transformer", lr=[0.1]),
    "numpy": [np.float64(0.5), np.int64(3), np.bool_(True), np.arange(3), np.ones(2, np.float32)],
    "plain": [None, True, 2**70, "Übung", b"bytes", (1, 2), {3}, 1.5],
}


@pytest.mark.parametrize("zipped", [True, False])
def test_what_fairseq_writes_is_loaded(tmp_path, loader, zipped):
    torch.save(DATA, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    found = safe_load(tmp_path / "file")
    for a, b in zip(found.pop("tensors"), DATA["tensors"]):
        assert a.dtype == b.dtype and torch.equal(a, b)
    assert torch.equal(found.pop("parameter"), DATA["parameter"])
    arrays = found.pop("numpy")
    assert [a.dtype for a in arrays] == [a.dtype for a in DATA["numpy"]]
    assert all(np.array_equal(a, b) for a, b in zip(arrays, DATA["numpy"]))
    rest = {key: value for key, value in DATA.items() if key in found}
    assert found == rest and len(rest) == 3


def test_what_omegaconf_puts_into_a_checkpoint_is_loaded(tmp_path, loader):
    omegaconf = pytest.importorskip("omegaconf")
    torch.save({"cfg": omegaconf.OmegaConf.create({"a": [1, "x"], "b": 0.5})}, tmp_path / "file")
    assert safe_load(tmp_path / "file")["cfg"] == {"a": [1, "x"], "b": 0.5}


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: Call(os.mkdir, path),
        lambda path: Call(builtins.eval, f"__import__('os').mkdir({path!r})"),
        lambda path: Call(getattr, "text", "upper"),
        lambda path: Call(pickle.loads, pickle.dumps(Call(os.mkdir, path))),
        lambda path: np.array([Call(os.mkdir, path)], dtype=object),
        lambda path: argparse.Namespace(inner=Call(os.mkdir, path)),
        lambda path: os.mkdir,
        lambda path: torch.nn.Linear(1, 1),
    ],
    ids=["call", "eval", "getattr", "pickle", "in an array", "nested", "function", "module"],
)
def test_nothing_in_a_file_is_run(tmp_path, loader, make, zipped):
    ran = tmp_path / "ran"
    torch.save({"x": make(str(ran))}, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    with pytest.raises(Exception, match="(?i)unsupported|not allowed|weights.only"):
        safe_load(tmp_path / "file")
    assert not ran.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_the_loader_itself_runs_nothing(tmp_path, loader, zipped, monkeypatch):
    """Also where what was looked at was not what is loaded."""
    loading = "fairseq_lottery.formats.checkpoints.safe_load"
    monkeypatch.setattr(f"{loading}.names_in", lambda path: set())
    ran = tmp_path / "ran"
    state = {"x": Call(os.mkdir, str(ran))}
    torch.save(state, tmp_path / "file", _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError, match="(?i)unsupported|not allowed|weights.only"):
        safe_load(tmp_path / "file")
    assert not ran.exists()


def test_what_a_file_asks_for_is_seen_without_loading_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("loaded"))
    torch.save(DATA, tmp_path / "good")
    refuse_code(tmp_path / "good")
    torch.save({"x": Call(os.mkdir, str(tmp_path / "ran"))}, tmp_path / "bad")
    with pytest.raises(pickle.UnpicklingError, match="^posix.mkdir is not allowed in a check"):
        refuse_code(tmp_path / "bad")


def test_all_safe_classes_are_plain_data():
    modules = {c.__module__.split(".")[0] for c in safe_classes()}
    assert modules <= {"argparse", "builtins", "collections", "numpy", "omegaconf", "typing"}
    assert {argparse.Namespace, np.ndarray, dict} <= set(safe_classes())
    assert not {eval, exec, getattr, type, object, open, __import__} & set(safe_classes())


@pytest.mark.skipif(not HAS_SAFE_GLOBALS, reason="of torch's safe loader")
def test_loading_forgets_nothing_that_was_allowed_before(tmp_path):
    allow_fairseq_checkpoints()
    before = torch.serialization.get_safe_globals()
    assert argparse.Namespace in before
    torch.save({}, tmp_path / "file")
    safe_load(tmp_path / "file")
    after = torch.serialization.get_safe_globals()
    assert len(after) == len(before) and all(c in after for c in before)
