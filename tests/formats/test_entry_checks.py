import pytest
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.entry_checks import (
    count,
    entries,
    every,
    json_entries,
    list_of,
    one_of,
    row,
    tensors,
)

FILE = entries(
    {
        "name": one_of(str),
        "share": one_of(int, float),
        "settings": json_entries,
        "runs": list_of(entries({"update": count}, needed=("update",))),
        "shapes": every(list_of(count)),
        "rows": list_of(row(str, int)),
        "weights": tensors,
    },
    needed=("name",),
)
GOOD = {
    "name": "x",
    "share": 0.5,
    "settings": {"a": [1, {"b": None}]},
    "runs": [{"update": 0}, {"update": 2**63 - 1, "more": object()}],
    "shapes": {"w": [2, 3]},
    "rows": [["w", 1]],
    "weights": {"w": torch.ones(2, 3)},
    "unknown": object(),
}


def test_a_file_that_meets_its_schema_and_one_with_less():
    FILE(GOOD, "", 24)
    FILE({"name": "x", "share": None}, "", 24)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"name": None}, "its record has no name"),
        ({"name": 3}, "its name is 3"),
        ({"share": True}, "its share is True"),
        ({"share": [0.5]}, "its share is a list"),
        ({"settings": [1]}, "its settings is a list"),
        ({"settings": {"a": {1}}}, "its settings holds a set"),
        ({"runs": {"update": 1}}, "its runs is a dict"),
        ({"runs": [{"update": 1}, {}]}, "its runs[1] has no update"),
        ({"runs": [{"update": -1}]}, "its runs[0].update is -1"),
        ({"runs": [{"update": True}]}, "its runs[0].update is True"),
        ({"runs": [{"update": 2**63}]}, "its runs[0].update is 9223372036854775808"),
        ({"shapes": {"w": [1.0]}}, "its shapes.w[0] is 1.0"),
        ({"shapes": {"w": None}}, "its shapes.w is None"),
        ({"shapes": {1: [1]}}, "its shapes is a dict"),
        ({"rows": [["w", True]]}, "its rows[0] is a list"),
        ({"rows": [["w", 1, 2]]}, "its rows[0] is a list"),
        ({"weights": {"w": 1}}, "its weights has 'w', which is not a tensor"),
        ({"weights": {"a\nb": torch.ones(1)}}, r"its weights has the invalid name 'a\nb'"),
        ({"weights": {"w": torch.ones(2).to_sparse()}}, "'w', which is not a plain tensor"),
        ({"weights": {"w": torch.ones(1000)}}, "its weights exceeds"),
    ],
)
def test_an_entry_is_refused_by_its_path(change, said):
    with pytest.raises(LotteryError) as refused:
        FILE({**GOOD, **change}, "", 24)
    assert said in str(refused.value)


def test_a_value_of_any_size_is_not_shown_whole():
    with pytest.raises(LotteryError) as refused:
        FILE({"name": "x", "share": "y" * 10_000}, "", 1)
    assert len(str(refused.value)) < 100
