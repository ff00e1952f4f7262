import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.nm_pattern import Pattern


@PROPERTY
@given(st.integers(0, 12_000), st.integers(0, 12_000))
def test_a_pattern_keeps_some_and_not_all_of_a_group(kept, group):
    found = Pattern.parse(f"{kept}:{group}")
    if 0 < kept < group < 10_000:
        assert (found.kept, found.group, str(found)) == (kept, group, f"{kept}:{group}")
        assert found.sparsity == 1 - kept / group
    else:
        assert found is None


@pytest.mark.parametrize(
    "text",
    ["", "layer", "2:", ":4", "2:4:8", "02:4", "2:04", "-2:4", "2:4\n", " 2:4", "2.0:4", "٢:٤"],
)
def test_other_texts_are_no_pattern(text):
    assert Pattern.parse(text) is None


def test_a_pattern_has_one_sparsity():
    for text, sparsity in (("2:4", 0.5), ("1:4", 0.75), ("4:8", 0.5), ("1:3", 0.666667)):
        Pattern.parse(text).refuse_other(sparsity)
    sentence = "--scope 1:4 prunes 3 of every 4 .* 0.75, not 0.6"
    with pytest.raises(LotteryError, match=sentence):
        Pattern.parse("1:4").refuse_other(0.6)
    for sparsity in (0.49999, 0.50001, math.nan):
        with pytest.raises(LotteryError, match="leave --sparsity out"):
            Pattern.parse("2:4").refuse_other(sparsity)
