"""Numbers and shares of components that stay open, held against what a choice of a share prunes."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.open_count import parse_open_count
from fairseq_lottery.masks import count_to_prune


@pytest.mark.parametrize(
    "text, total, expected",
    [
        ("24", 48, 24),
        ("1", 1, 1),
        ("048", 48, 48),
        ("50%", 48, 24),
        ("50 %", 48, 24),
        ("100%", 7, 7),
        ("50%", 7, 3),  # 3.5 are pruned: 4
        ("12.5%", 48, 6),
        ("70%", 15, 10),  # 4.5 are pruned: 5; 1 - 0.7 is 0.30000000000000004
        ("30%", 5, 1),  # 3.5 are pruned: 4
        ("90%", 5, 4),  # 0.5 are pruned: 1; 1 - 0.9 as floats is 0.09999999999999998
        ("0.000000000001%", 1, None),
        ("10%", 5, None),
    ],
)
def test_golden(text, total, expected):
    if expected is not None:
        assert parse_open_count(text, "heads", total) == expected
        return
    with pytest.raises(LotteryError, match=f"{text} rounds to 0, which is out of range .1 to"):
        parse_open_count(text, "heads", total)


@given(st.integers(0, 1000), st.integers(1, 100_000))
@PROPERTY
def test_a_share_leaves_what_a_choice_of_the_rest_leaves(permille, total):
    pruned = count_to_prune(float(Fraction(1000 - permille, 1000)), total)
    text = f"{permille // 10}.{permille % 10}%"
    if total - pruned:
        assert parse_open_count(text, "units", total) == total - pruned


@pytest.mark.parametrize(
    "text, message",
    [
        ("half", "neither a number of units, such as 24, nor a share, such as 50%"),
        ("", "neither a number"),
        ("0.5", "neither a number"),
        ("-3", "neither a number"),
        ("nan%", "neither a number"),
        ("1e2%", "neither a number"),
        ("\u0663", "neither a number"),
        ("9" * 5000, "neither a number"),
        ("101%", "exceeds 100%"),
        ("100.000000000001%", "exceeds 100%"),
        ("0", "--open-units 0 is out of range .1 to 48."),
        ("49", "--open-units 49 is out of range .1 to 48."),
    ],
)
def test_anything_else_is_one_sentence(text, message):
    with pytest.raises(LotteryError, match=message) as error:
        parse_open_count(text, "units", 48)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
