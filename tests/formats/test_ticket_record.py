import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import refuse_other_than_json
from fairseq_lottery.formats.ticket_record import refuse_malformed

WHOLE = {"update": 5, "values_update": None, "clock": "rewind", "masters": True, "asked": 0.5,
         "architecture": {"arch": "transformer"}, "something": [1]}  # fmt: skip


def test_a_whole_record_and_none_at_all():
    refuse_malformed(WHOLE, "t.safetensors")
    refuse_malformed({}, "t.safetensors")


@pytest.mark.parametrize(
    "change, why",
    [
        ({"update": "5"}, "its update is '5'"),
        ({"update": True}, "its update is True"),
        ({"update": -1}, "its update is -1"),
        ({"update": None}, "its update counter rewinds"),
        ({"masters": 1}, "its masters is 1"),
        ({"architecture": ["x" * 200]}, "its architecture is a list"),
        ({"asked": "0.5"}, "its asked is '0.5'"),
        ({"signature": "a\x1b[2J"}, "its signature is 'a"),
    ],
)
def test_an_entry_of_another_type_is_refused(change, why):
    with pytest.raises(LotteryError, match=f"^t.safetensors is malformed .{why}"):
        refuse_malformed({**WHOLE, **change}, "t.safetensors")


def test_what_json_cannot_say_is_refused():
    refuse_other_than_json({"a": [1, 2.5, None, (True, "x")], "b": {}}, "it")
    ring = []
    ring.append(ring)
    laughs = ["ha"]
    for _ in range(40):
        laughs = [laughs, laughs]
    for value, why in (
        (ring, "it is nested too deeply"),
        (laughs, "it holds more than 100000 values"),
        ({"a": {1}}, "it holds a set"),
        ({1: 2}, "it holds a dict"),
        ([float("nan")], "it holds nan"),
    ):
        with pytest.raises(LotteryError, match=why):
            refuse_other_than_json(value, "it")
