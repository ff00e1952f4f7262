"""Files of summed gradients: what they state, and what is refused of an untrusted one."""

import logging

import pytest
import torch
from safetensors.torch import save_file

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.gradients import KIND, load_gradients, save_gradients

SUMS = {"a.weight": torch.arange(6.0).view(2, 3), "b.weight": torch.ones(1, 2)}
SHAPES = {"a.weight": (2, 3), "b.weight": (1, 2), "c.bias": (4,)}
RECORD = {"statistic": "gradient", "weights": "abc", "batches": 3}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sums.safetensors"


def test_what_was_saved_is_loaded(path, caplog):
    save_gradients(path, SUMS, RECORD)
    with caplog.at_level(logging.WARNING):
        loaded = load_gradients(path, "gradient", SHAPES, "abc")
        assert not caplog.records
        load_gradients(path, "gradient", SHAPES, "another")
    assert loaded.keys() == SUMS.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in SUMS.items())
    assert [r.getMessage() for r in caplog.records] == [
        f"--gradients {path} was computed from other weights than those that are ranked"
    ]


def test_a_file_is_replaced_on_request_only_and_equal_sums_give_equal_bytes(path):
    save_gradients(path, SUMS, RECORD)
    before = path.read_bytes()
    with pytest.raises(LotteryError, match="exists already"):
        save_gradients(path, SUMS, {**RECORD, "batches": 4})
    assert path.read_bytes() == before
    save_gradients(path, SUMS, RECORD, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "record, sentence",
    [
        ({"weights": "abc"}, "is malformed (its record has no statistic)"),
        ({"statistic": 3, "weights": "abc"}, "is malformed (its statistic is"),
        ({**RECORD, "batches": -1}, "is malformed (its batches is"),
        ({**RECORD, "statistic": "mood" * 50}, "has the statistic 'moodmood"),
        ({**RECORD, "statistic": "flow"}, "has the statistic 'flow', but the score reads summed"),
        ({**RECORD, "versions": [1]}, "is malformed (its versions is"),
    ],
)
def test_a_malformed_record_is_refused(path, record, sentence):
    container.save(path, KIND, SUMS, record)
    with pytest.raises(LotteryError) as error:
        load_gradients(path, "gradient", SHAPES)
    assert sentence in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    "tensors, sentence",
    [
        (
            {"a.weight": torch.ones(3, 2)},
            r"match the model: a\.weight has shape \(3, 2\), expected \(2, 3\)",
        ),
        ({"x": torch.ones(1)}, "does not match the model: it has x, which the model lacks"),
        ({"x": torch.ones(())}, "does not match the model: it has x, which the model lacks"),
        ({"y" * 999: torch.ones(1)}, f"it has {'y' * 80}, which the model lacks"),
        ({"c.bias": torch.ones(())}, r"c\.bias has shape \(\), expected \(4,\)"),
        ({"b.weight": torch.ones(1, 2, dtype=torch.long)}, r"values of b\.weight that are not fin"),
        (
            {"b.weight": torch.full((1, 2), float("inf"))},
            r"values of b\.weight that are not finite",
        ),
    ],
)
def test_sums_of_another_model_or_without_numbers_are_refused(path, tensors, sentence):
    save_gradients(path, tensors, RECORD)
    with pytest.raises(LotteryError, match=sentence):
        load_gradients(path, "gradient", SHAPES)
    save_file(tensors, path)  # as another program writes it
    with pytest.raises(LotteryError, match=sentence):
        load_gradients(path, "gradient", SHAPES)


def test_files_that_are_not_safetensors_are_refused(path):
    path.write_bytes(b"nothing")
    with pytest.raises(LotteryError, match="is not a readable safetensors file"):
        load_gradients(path, "gradient", SHAPES)
    with pytest.raises(LotteryError, match="is not a file"):
        load_gradients(path.with_name("other"), "gradient", SHAPES)
