import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Gradual, count_to_prune, rounds

#: Brix et al. (2020): from 0 to 400k of 500k updates, every 10k
BRIX = Gradual(initial=0.0, final=0.9, start=0, end=400_000, every=10_000)


def test_the_cubic_of_brix():
    golden = {
        0: 0.0, 10_000: 0.0658265625, 20_000: 0.1283625, 50_000: 0.2970703125,
        100_000: 0.5203125, 150_000: 0.6802734375, 200_000: 0.7875, 250_000: 0.8525390625,
        300_000: 0.8859375, 350_000: 0.8982421875, 390_000: 0.8999859375, 400_000: 0.9,
        410_000: 0.9, 500_000: 0.9,
    }  # fmt: skip
    for update, sparsity in golden.items():
        assert BRIX.sparsity_at(update) == pytest.approx(sparsity, rel=1e-14)
    for update in range(0, 500_001, 10_000):
        left = max(Fraction(0), 1 - Fraction(update, 400_000))
        assert BRIX.sparsity_at(update) == pytest.approx(float(Fraction(9, 10) * (1 - left**3)))


def test_the_mask_grows_41_times():
    due = [update for update in range(500_001) if BRIX.is_due(update)]
    assert due == list(range(0, 400_001, 10_000))
    assert BRIX.is_active(0) and BRIX.is_active(399_999) and not BRIX.is_active(400_000)


def test_the_end_is_due_where_the_steps_miss_it():
    gradual = Gradual(0.0, 0.9, start=2, end=12, every=4)
    assert [update for update in range(30) if gradual.is_due(update)] == [2, 6, 10, 12]


def test_pruning_that_goes_on_from_a_ticket():
    gradual = Gradual(0.6, 0.8, start=100, end=200, every=10)
    assert gradual.sparsity_at(0) == gradual.sparsity_at(100) == 0.6
    assert gradual.sparsity_at(150) == pytest.approx(0.8 - 0.2 / 8)
    assert gradual.sparsity_at(200) == gradual.sparsity_at(999) == 0.8


def test_linear():
    gradual = Gradual(0.0, 0.8, start=0, end=100, every=25, schedule="linear")
    values = [gradual.sparsity_at(update) for update in (0, 25, 50, 75, 100, 101)]
    assert values == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 0.8])


def test_one_shot():
    gradual = Gradual(0.5, 0.9, start=10, end=20, every=1, schedule="one-shot")
    assert [gradual.sparsity_at(update) for update in (0, 9, 10, 15, 25)] == [
        0.5,
        0.5,
        0.9,
        0.9,
        0.9,
    ]
    assert [update for update in range(30) if gradual.is_due(update)] == [10]
    assert gradual.is_active(9) and not gradual.is_active(10)
    assert Gradual(0, 0.9, start=10, end=10, every=1, schedule="one-shot").sparsity_at(10) == 0.9


hundredths = st.integers(0, 99).map(lambda n: n / 100)


@PROPERTY
@given(
    st.tuples(hundredths, hundredths).map(sorted),
    st.integers(0, 1000),
    st.integers(1, 1000),
    st.integers(1, 300),
    st.sampled_from(["cubic", "linear", "one-shot"]),
    st.integers(1, 10_000),
)
@example([0.01, 0.08], 2, 10, 1, "cubic", 50)  # 0.08 + (0.01 - 0.08) is below 0.01
def test_every_schedule_starts_and_ends_exactly_and_never_shrinks(
    sparsities, start, length, every, schedule, size
):
    """In weights: one fewer than are pruned already would end the training with a refusal."""
    gradual = Gradual(*sparsities, start, start + length, every, schedule)
    due = [update for update in range(start + length + every) if gradual.is_due(update)]
    counts = [count_to_prune(gradual.sparsity_at(update), size) for update in [start - 1, *due]]
    assert counts[0] == count_to_prune(sparsities[0], size)
    assert counts[-1] == count_to_prune(sparsities[1], size)
    assert counts == sorted(counts)
    if schedule != "one-shot":
        assert counts[1] == counts[0]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"final": 1.0}, r"--prune-to 1 is outside \[0, 1\)"),
        ({"final": math.nan}, "--prune-to nan is outside"),
        ({"initial": -0.5}, "the ticket's sparsity -0.5 is outside"),
        ({"initial": 0.95}, "--prune-to 0.9 is below the sparsity 0.95"),
        ({"schedule": "square"}, "there is no schedule 'square'; choose one of cubic, linear, one"),
        ({"every": 0}, "--prune-every 0 must be at least 1"),
        ({"start": 500_000}, "--prune-start 500000 is out of range .*, 400000"),
        ({"start": -1}, "--prune-start -1 is out of range"),
        ({"start": 400_000}, "are both 400000; a cubic schedule"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(changes, sentence):
    given = {"initial": 0, "final": 0.9, "start": 0, "end": 400_000, "every": 10_000, **changes}
    with pytest.raises(LotteryError, match=sentence):
        Gradual(**given)


def test_rounds_from_a_list():
    brix = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98]
    assert rounds(brix) == brix


def test_rounds_that_remove_a_fifth_of_what_remains():
    """Yu et al. (2020): 20 rounds of a fifth leave 1.15 %."""
    values = rounds(fraction=0.2, count=20)
    assert values[:4] == pytest.approx([0.2, 0.36, 0.488, 0.5904])
    assert values[-1] == pytest.approx(0.98847, abs=1e-5) and len(values) == 20


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({}, "require a list of sparsities"),
        ({"fraction": 0.2}, "require a list of sparsities"),
        ({"sparsities": []}, r"must increase, found \[\]"),
        ({"sparsities": [0.5, 0.5]}, "must increase"),
        ({"sparsities": [0.6, 0.5]}, "must increase"),
        ({"sparsities": [0.5, 1.0]}, "--sparsity 1 is outside"),
        ({"fraction": 1.0, "count": 2}, "a pruned share per round of 1 is outside"),
        ({"fraction": 0.0, "count": 2}, "must increase"),
        ({"fraction": 0.2, "count": 0}, "must increase"),
    ],
)
def test_rounds_that_make_no_sense_are_refused(given, sentence):
    with pytest.raises(LotteryError, match=sentence):
        rounds(**given)
