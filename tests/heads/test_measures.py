"""Measures by name, and those of a user's own."""

import inspect
import sys
from hashlib import sha256
from types import ModuleType

import pytest
import torch
from live import anatomy, transformer

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import trainable
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.measures.importance import normalised
from fairseq_lottery.heads.measures.measures import MeasureInput, find_measure, measure
from fairseq_lottery.heads.measures.weight_norms import l1

MODEL = transformer()
ANATOMY = anatomy(MODEL)
HEADS = ANATOMY.heads


def given():
    def nothing(*unused):
        raise AssertionError("no data is needed")

    weights = {name: p.detach() for name, p in trainable(MODEL).items()}
    return MeasureInput(
        MODEL, ANATOMY, weights, Gates(MODEL, ANATOMY), nothing, nothing, (2, 1),
        "sentence", nothing,
    )  # fmt: skip


def ones(size):
    return torch.ones(size, dtype=torch.int32)


def own(given):
    return {"heads": {name: torch.arange(n) for name, n in reversed(given.anatomy.heads.items())}}


@pytest.fixture
def named(monkeypatch):
    """Name a function as a user does: in a module that can be imported."""

    def name(function):
        module = ModuleType("my_measures")
        module.mine = function
        monkeypatch.setitem(sys.modules, "my_measures", module)
        return "my_measures:mine"

    return name


def test_a_measure_of_weights_needs_no_data():
    assert find_measure("l1")[1] is None
    found = measure("l1", given())
    assert all(found["heads"][n].equal(v) for n, v in l1(given().weights, ANATOMY)["heads"].items())


def test_a_measure_of_ones_own_is_named_by_its_module(named):
    name = named(own)
    assert find_measure(name) == (own, sha256(inspect.getsource(own).encode()).hexdigest())
    scores = measure(name, given())
    assert list(scores["heads"]) == list(HEADS), "in the order of the anatomy"
    for name, count in HEADS.items():
        assert scores["heads"][name].tolist() == list(range(count))
        assert scores["heads"][name].dtype == torch.float64
    assert float(normalised(scores)["heads"][name].norm()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (None, "must return a mapping from heads, units, blocks to scores"),
        ({}, "must return a mapping from heads"),
        ({"layers": {}}, "must return a mapping from heads"),
        ({"heads": {}}, "must return scores of all 6 modules with heads"),
        ({"heads": [1]}, "must return scores of all 6 modules with heads"),
        (
            {"blocks": {n: ones(2) for n in ANATOMY.units}},
            "have shape (2,), expected (1,)",
        ),
        (
            {"heads": {n: [1] * 4 for n in HEADS}},
            "have shape list, expected (4,)",
        ),
        ({"heads": {n: ones(4) / 0 for n in HEADS}}, "are complex or not all finite"),
        ({"heads": {n: ones(4) * 1j for n in HEADS}}, "are complex or not all finite"),
    ],
)
def test_scores_that_do_not_fit_the_model_are_refused(named, scores, said):
    name = named(lambda given: scores)
    with pytest.raises(LotteryError) as refused:
        measure(name, given())
    assert said in str(refused.value) and str(refused.value).startswith("measure my_measures:mine")


def test_a_measure_that_fails_or_is_missing_is_one_sentence(named):
    name = named(lambda given: {}["x"])
    with pytest.raises(LotteryError, match="^measure my_measures:mine failed with KeyError: 'x'$"):
        measure(name, given())
    with pytest.raises(LotteryError, match="cannot be imported .*; check the name, and"):
        find_measure("my_measures:other")
    with pytest.raises(LotteryError, match="there is no measure 'l3'; choose one of gradient, con"):
        find_measure("l3")
