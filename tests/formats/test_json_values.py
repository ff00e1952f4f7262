import json
import math
from argparse import Namespace

import numpy as np
import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.formats.json_values import from_json, to_json


def there_and_back(value):
    return from_json(read_json(json.dumps(to_json(value, "x"), allow_nan=False)))


@pytest.mark.parametrize(
    "value",
    [
        *((0.9, 0.999), [(1,), ()], float("inf"), -float("inf"), {1: "a", None: (2.0,)}),
        *(Namespace(a=(1,), b={"c": float("inf")}), {"__type__": "float", "value": "inf"}),
        *(True, 1, 1.0, "x", None, [], {}, {(1, 2): [3]}),
    ],
    ids=str,
)
def test_there_and_back(value):
    found = there_and_back(value)
    assert found == value and type(found) is type(value)


def test_a_number_that_is_none():
    assert math.isnan(there_and_back([float("nan")])[0])


def test_what_json_holds_stays_as_it_is():
    settings = {"cfg": {"model": {"lr": [0.1], "arch": "transformer"}}, "args": None}
    assert to_json(settings, "x") == settings == from_json(settings)


def test_numbers_of_numpy_become_pythons():
    assert there_and_back([np.float32(0.5), np.int64(3), np.bool_(True)]) == [0.5, 3, True]


def test_other_data_is_named():
    with pytest.raises(LotteryError, match=r"^x\.a\[1\] has type set"):
        to_json({"a": [1, {2}]}, "x")
