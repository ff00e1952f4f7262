"""The registry of measures: what a decorator is enough for, and which rows are refused."""

import sys

import pytest

from fairseq_lottery.analysis import registry
from fairseq_lottery.analysis.registry import find_measure, measure, registered_measures
from fairseq_lottery.errors import LotteryError


@pytest.fixture
def registered(monkeypatch):
    """A copy of the registry, for measures of a test."""
    registered_measures()
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))


@pytest.fixture
def counted(registered):
    @measure("counted", command="similarity", over="masks", title="Count", models=2)
    def count(first, second):
        yield {"matrix": "fc1", "value": first + second}

    return find_measure("counted")


def test_a_decorator_is_enough(counted):
    assert [*counted.rows(2, 3)] == [{"measure": "counted", "matrix": "fc1", "value": 5}]
    assert "counted" in registered_measures(command="similarity", reads="file", models=2)
    assert "counted" not in registered_measures(reads="recording")
    others = registered_measures(models=1) | registered_measures(command="complexity")
    assert "counted" not in others


@pytest.mark.parametrize(("asked", "shown"), [
    (False, None), (True, ()), (("centred",), ("centred",)), ((), None),
])  # fmt: skip
def test_a_measure_asks_for_figures_in_reports(registered, asked, shown):
    measure("m", command="c", over="weights", title="M", in_report=asked)(lambda model: [])
    assert find_measure("m").in_report == shown


def test_the_number_of_models_is_checked(counted):
    with pytest.raises(LotteryError, match="compares 2 models, not 1"):
        next(counted.rows(2))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"layer": 1}, "has no value"),
        ({"value": float("nan")}, "value is nan"),
        ({"value": float("inf")}, "value is inf"),
        ({"value": True}, "value is True"),
        ({"layer": "1", "value": 1.0}, "layer is '1'"),
        ({"colour": "red", "value": 1.0}, "column colour"),
    ],
)
def test_malformed_rows_are_refused(registered, row, problem):
    measure("broken", command="c", over="weights", title="Broken")(lambda model: [row])
    with pytest.raises(LotteryError, match=problem):
        next(find_measure("broken").rows(None))


def test_unknown_inputs_are_refused():
    with pytest.raises(ValueError, match="'gradients'"):
        measure("x", command="c", over="gradients", title="X")
    with pytest.raises(LotteryError, match="'nothing'"):
        find_measure("nothing")


def test_a_measure_of_a_user(registered, tmp_path, monkeypatch):
    (tmp_path / "own_measure.py").write_text(
        "from fairseq_lottery.analysis import measure\n"
        "@measure('mine', command='similarity', over='weights', title='Mine', limits=(0, None))\n"
        "def mine(model):\n    yield {'value': 7}\n"
        "def other(model):\n    yield {'value': 8}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = find_measure("own_measure:mine")
    assert (found.name, [*found.rows(None)]) == ("mine", [{"measure": "mine", "value": 7}])
    with pytest.raises(LotteryError, match="own_measure:other"):
        find_measure("own_measure:other")
    del sys.modules["own_measure"]
