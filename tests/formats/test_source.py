import os
import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch
from small import (
    DICTIONARIES,
    EMBEDDING,
    SHAPES,
    SYMBOLS,
    Run,
    full_mask,
    model,
    save_checkpoint,
    save_snapshot_of,
    weights,
)

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import (
    container,
    mask_to_state,
    read_checkpoint,
    read_source,
    save_ticket,
)
from fairseq_lottery.masks import Mask


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_checkpoint(path):
    source = read_source(save_checkpoint(path, weights(), mask=full_mask()))
    assert equal(source.weights, weights()), "the tied embedding once, no buffers"
    assert (source.kind, source.update, source.masters) == ("checkpoint", 20, True)
    assert (source.mask, source.is_pruned) == (full_mask(), False)
    assert source.in_file == DICTIONARIES
    assert source.architecture == {"arch": "transformer", "encoder_layers": 2}
    assert source.shapes == SHAPES


def test_a_snapshot_and_a_ticket_of_the_same_weights(tmp_path):
    run = Run(tmp_path)
    snapshot = read_source(run.snapshot_5)
    assert (snapshot.kind, snapshot.update, snapshot.mask) == ("snapshot", 5, None)
    assert equal(snapshot.weights, run.early)
    drawn = run.draw()
    save_ticket(tmp_path / "ticket.safetensors", drawn)
    ticket = read_source(tmp_path / "ticket.safetensors")
    assert (ticket.kind, ticket.update, ticket.mask) == ("ticket", 5, drawn.mask)
    assert ticket.is_pruned and equal(ticket.weights, drawn.values)
    assert snapshot.in_file == ticket.in_file == DICTIONARIES
    assert snapshot.architecture == {"arch": "transformer"}


def test_the_digest_is_of_weights_and_mask_and_not_of_the_file(tmp_path):
    one = read_source(save_checkpoint(tmp_path / "one.pt", weights(), update=1)).digest()
    two = read_source(save_snapshot_of(tmp_path / "two.safetensors", weights(), update=2)).digest()
    assert one == two
    masked = save_checkpoint(tmp_path / "masked.pt", weights(), mask=full_mask())
    other = save_checkpoint(tmp_path / "other.pt", weights(1))
    assert len({one, read_source(masked).digest(), read_source(other).digest()}) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_without_masters_says_so(path, dtype):
    half = {name: weight.to(dtype) for name, weight in weights().items()}
    source = read_source(save_checkpoint(path, half))
    assert not source.masters
    assert equal(source.weights, {name: weight.float() for name, weight in half.items()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masters_are_read_where_they_exist(path, dtype):
    half = {name: weight.to(dtype) for name, weight in weights().items()}
    optimizer = {"state": {}, "lottery": {"masters": weights()}}
    source = read_source(save_checkpoint(path, half, last_optimizer_state=optimizer))
    assert source.masters
    assert equal(source.weights, weights()), "unrounded"


def test_the_command_line_may_be_a_namespace_and_numbers_may_be_numpys(path):
    numbers = [np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), np.arange(3)]
    model = Namespace(arch="transformer", encoder_layers=2, lr=[0.1], dropout=0.1)
    cfg = {"model": model, "task": Namespace(data="/gone", source_lang="en", target_lang="de")}
    extra = {"numbers": numbers, "set": {1, 2}}
    state = read_checkpoint(save_checkpoint(path, weights(), cfg=cfg, extra_state=extra))
    assert [type(n) for n in state["extra_state"]["numbers"]] == [type(n) for n in numbers]
    assert state["extra_state"]["set"] == {1, 2}
    expected = {"arch": "transformer", "dropout": 0.1, "encoder_layers": 2}
    assert read_source(path).architecture == expected


class Evil:
    """Would make a folder, were its pickle run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["model", "extra_state", "cfg"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(tmp_path, path, place, zipped):
    state = {"model": model(weights()), "cfg": {}, "extra_state": {}}
    state[place]["evil"] = Evil(tmp_path / "ran")
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(LotteryError, match="not a fairseq checkpoint that can be loaded safely"):
        read_source(path)
    path.write_bytes(pickle.dumps(state, protocol=2))
    with pytest.raises(LotteryError, match="not a fairseq checkpoint that can be loaded safely"):
        read_source(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_are_read(path, zipped):
    torch.save({"model": model(weights())}, path, _use_new_zipfile_serialization=zipped)
    source = read_source(path)
    assert equal(source.weights, weights())
    assert (source.update, source.mask, source.in_file) == (None, None, None)


@pytest.mark.parametrize(
    "content, sentence",
    [
        ([1, 2], "it has no model"),
        ({"weights": {}}, "it has no model"),
        ({"model": {"w": 3}}, "its model has 'w'"),
        (
            {"model": {"w": torch.tensor([1.0, float("nan")])}},
            "w has entries that are NaN or infin",
        ),
        ({"model": {"w": torch.tensor([-float("inf")])}}, "w has entries that are NaN or infinite"),
        ({"model": {"w": torch.tensor([[1.0], [float("inf")]])}}, "w has entries that are NaN or"),
        ({"model": {"w": torch.tensor([float("nan")] * 99)}}, "w has entries that are NaN or inf"),
    ],
)
def test_files_that_are_no_checkpoint_are_refused(path, content, sentence):
    torch.save(content, path)
    with pytest.raises(LotteryError, match=sentence):
        read_source(path)


def test_a_file_of_ours_of_an_unknown_kind_is_refused(tmp_path):
    container.save(tmp_path / "x.safetensors", "page", {"w": torch.ones(1)}, {})
    sentence = "x.safetensors is a file of the kind 'page', not a snapshot"
    with pytest.raises(LotteryError, match=sentence):
        read_source(tmp_path / "x.safetensors")


def test_a_malformed_checkpoint_is_refused(path):
    save_checkpoint(path, weights())
    whole = path.read_bytes()
    for length in (0, 1, 2, 3, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(
            LotteryError, match="not a fairseq checkpoint that can be loaded safely"
        ):
            read_source(path)
    path.write_text("no checkpoint at all")
    with pytest.raises(LotteryError, match="not a fairseq checkpoint that can be loaded safely"):
        read_source(path)


def test_a_missing_file_names_what_is_beside_it(tmp_path):
    Run(tmp_path)
    beside = "beside it are snapshot_0.safetensors, snapshot_5.safetensors"
    with pytest.raises(
        LotteryError, match=f"there is no file .*snapshot_40.safetensors; {beside}$"
    ):
        read_source(tmp_path / "snapshot_40.safetensors")
    with pytest.raises(LotteryError, match="no file .*best.pt; beside it are last.pt$"):
        read_source(tmp_path / "best.pt")
    with pytest.raises(LotteryError, match="there is no file .*gone/best.pt$"):
        read_source(tmp_path / "gone" / "best.pt")
    with pytest.raises(LotteryError, match="is a folder; name a file in it"):
        read_source(tmp_path)
    with pytest.raises(LotteryError, match="there is no file"):
        read_checkpoint(tmp_path / "best.pt")


def test_the_mask_of_another_model_is_refused(tmp_path, path):
    larger = Mask.full({EMBEDDING: (99, 4)})
    with pytest.raises(
        LotteryError, match=rf"{EMBEDDING} has shape \(99, 4\), expected \(12, "
    ):
        read_source(save_checkpoint(path, weights(), mask=larger))
    more = Mask.full({"encoder.layers.2.fc1.weight": (6, 4)})
    with pytest.raises(
        LotteryError, match="prunes encoder.layers.2.fc1.weight, which the model doe"
    ):
        read_source(save_snapshot_of(tmp_path / "s.safetensors", weights(), mask=more))


def test_a_malformed_mask_is_refused(path):
    task_state = {"lottery": {"mask": {**mask_to_state(full_mask()), "shapes": {}}}}
    with pytest.raises(LotteryError, match="mask"):
        read_source(save_checkpoint(path, weights(), task_state=task_state))


@pytest.mark.parametrize("cfg", [dict, lambda **task: Namespace(**task)])
def test_the_dictionaries_of_a_plain_run_are_beside_its_data(tmp_path, path, cfg):
    for language in ("en", "de"):
        (tmp_path / f"dict.{language}.txt").write_text("".join(f"{s} 1\n" for s in SYMBOLS))
    task = cfg(data=f"{tmp_path}:/more", source_lang="en", target_lang="de")
    plain = {"cfg": {"model": {"arch": "transformer"}, "task": task}, "task_state": {}}
    source = read_source(save_checkpoint(path, weights(), **plain))
    assert source.in_file is None
    assert source.find_dictionaries() == DICTIONARIES
    (tmp_path / "dict.en.txt").unlink()
    with pytest.raises(LotteryError, match=f"the data folder {tmp_path} has no dict.en.txt; run"):
        read_source(path).find_dictionaries()


def test_languages_that_were_not_given_are_inferred(tmp_path, path, monkeypatch):
    """As fairseq-train infers them, from the name of any split."""
    data = tmp_path / "data"
    plain = {"cfg": {"model": {"arch": "transformer"}, "task": {"data": "data"}}, "task_state": {}}
    source = read_source(save_checkpoint(path, weights(), **plain))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LotteryError, match=f"there is no data folder data in {tmp_path}; run this"):
        source.find_dictionaries()
    data.mkdir()
    for language in ("en", "de"):
        (data / f"dict.{language}.txt").write_text("".join(f"{s} 1\n" for s in SYMBOLS))
    with pytest.raises(LotteryError, match="data folder data has no file SPLIT.SOURCE-TARGET.LANG"):
        source.find_dictionaries()
    (data / "train.en-de.en.bin").touch()
    assert source.find_dictionaries() == DICTIONARIES
    monkeypatch.setattr("fairseq_lottery.compat.fairseq_module", lambda _: None)
    assert source.find_dictionaries() == DICTIONARIES
