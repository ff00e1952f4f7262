import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.files.untrusted_json import read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@PROPERTY
@given(JSON, st.booleans())
def test_what_json_writes_is_read(value, ascii_only):
    try:
        text = json.dumps(value, ensure_ascii=ascii_only)
        text.encode()
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # half a character
    assert read_json(text) == value


@pytest.mark.parametrize(
    "text, why",
    [
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "'c' is given twice"),
        ("[NaN]", "NaN is not a number"),
        ("-Infinity", "-Infinity is not a number"),
        ("1e999", "the number 1e999 is too large"),
        (str(2**63), "the number 9223372036854775808... is beyond 64 bits"),
        ("9" * 5000, "the number 99999999999999999999... is beyond 64 bits"),
        ("[" * 100_000, "it is nested too deeply"),
        ('"\\ud800"', "surrogates not allowed"),
        ('{"\\uDFFF": 1}', "surrogates not allowed"),
        ("{", "Expecting"),
        ("", "it is empty"),
        (" \n", "it is empty"),
    ],
)
def test_what_two_readers_could_take_for_two_things_is_refused(text, why):
    with pytest.raises(ValueError) as refused:
        read_json(text)
    assert why in str(refused.value)


def test_curves_may_be_nan():
    assert math.isnan(read_json("[NaN]", allow_nan=True)[0])
    assert read_json("[1e999, -Infinity]", allow_nan=True) == [math.inf, -math.inf]


def test_pairs_of_halves_are_whole_characters():
    assert read_json('"\\ud83d\\ude00"') == "\U0001f600"
