"""Similarity of languages against facts about them: by hand, and by scipy."""

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from fairseq_lottery.languages.association import association, summary
from fairseq_lottery.languages.metadata import Metadata
from fairseq_lottery.languages.square_table import SquareTable

NAMES = ("aa", "bb", "cc", "dd", "ee", "ff")
FAMILY = ("x", "x", "x", "y", "y", "y")


def metadata(**columns):
    return Metadata("facts.tsv", {name: dict(zip(NAMES, v)) for name, v in columns.items()})


def table(seed=1, size=6):
    values = np.random.default_rng(seed).normal(size=(size, size))
    return SquareTable(NAMES[:size], values + values.T)


def close_families():
    values = table().values / 100
    same = np.array([[a == b for b in FAMILY] for a in FAMILY])
    return SquareTable(NAMES, values + same)


def row_of(rows, column, given=None):
    (row,) = (row for row in rows if (row["column"], row.get("given")) == (column, given))
    return row


def by_hand(values, labels):
    pairs = list(itertools.combinations(range(len(labels)), 2))
    within = [values[i, j] for i, j in pairs if labels[i] == labels[j]]
    between = [values[i, j] for i, j in pairs if labels[i] != labels[j]]
    return np.mean(within), np.mean(between)


def test_within_minus_between_and_its_exact_test():
    tested = table(4)
    row = row_of(association(tested, metadata(family=FAMILY)), "family")
    within, between = by_hand(tested.values, FAMILY)
    assert row["mean_within"] == pytest.approx(within)
    assert row["mean_between"] == pytest.approx(between)
    assert row["value"] == pytest.approx(within - between)
    # of the 20 ways to choose the languages of x
    all_values = []
    for chosen in itertools.combinations(range(6), 3):
        own = by_hand(tested.values, ["x" if n in chosen else "y" for n in range(6)])
        all_values.append(own[0] - own[1])
    assert row["p"] == pytest.approx(np.mean(np.array(all_values) >= row["value"] - 1e-9))
    assert row["languages"] == 6 and row["permutations"] == 720


def test_two_families_of_three_cannot_give_a_p_below_a_tenth():
    rows = association(close_families(), metadata(family=FAMILY))
    row = row_of(rows, "family")
    assert row["value"] == pytest.approx(1, abs=0.1)
    assert row["p"] == row["smallest_p"] == pytest.approx(0.1)
    assert "p = 0.1, smallest possible 0.1, 6 languages" in summary(rows)[0]


def test_sizes_are_compared_by_their_logarithms():
    sizes = (10.0, 100.0, 1000.0, 5.0, 7.0, 400.0)
    tested = table(2)
    row = row_of(association(tested, metadata(size=sizes)), "size")
    pairs = list(itertools.combinations(range(6), 2))
    far = [abs(np.log(sizes[i] / sizes[j])) for i, j in pairs]

    def rho(order):
        return spearmanr([tested.values[order[i], order[j]] for i, j in pairs], far)[0]

    assert row["measure"] == "spearman-log-difference"
    assert row["value"] == pytest.approx(rho(range(6)))
    values = np.array([rho(order) for order in itertools.permutations(range(6))])
    assert row["p"] == pytest.approx((values <= row["value"] + 1e-9).mean())


def test_numbers_that_are_not_positive_are_compared_by_their_difference():
    numbers = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)
    row = row_of(association(table(2), metadata(age=numbers)), "age")
    far = [abs(a - b) for a, b in itertools.combinations(numbers, 2)]
    values = [table(2).values[i, j] for i, j in itertools.combinations(range(6), 2)]
    assert row["measure"] == "spearman-difference"
    assert row["value"] == pytest.approx(spearmanr(values, far)[0])


def test_a_partial_correlation_is_that_of_the_residuals_of_ranks():
    sizes = (10.0, 100.0, 1000.0, 5.0, 7.0, 400.0)
    tested = table(7)
    row = row_of(association(tested, metadata(family=FAMILY, size=sizes)), "size", "family")
    pairs = list(itertools.combinations(range(6), 2))
    close = -rankdata([abs(np.log(sizes[i] / sizes[j])) for i, j in pairs])
    same = rankdata([FAMILY[i] == FAMILY[j] for i, j in pairs])

    def partial(order):
        own = rankdata([tested.values[order[i], order[j]] for i, j in pairs])
        design = np.column_stack([np.ones(len(pairs)), same])
        residuals = [y - design @ np.linalg.lstsq(design, y, rcond=None)[0] for y in (own, close)]
        return np.corrcoef(*residuals)[0, 1]

    assert row["value"] == pytest.approx(partial(range(6)))
    assert row["shared"] == pytest.approx(np.corrcoef(close, same)[0, 1])
    inside = [[*a, *b] for a in itertools.permutations((0, 1, 2))
              for b in itertools.permutations((3, 4, 5))]  # fmt: skip
    values = np.array([partial(order) for order in inside])
    assert row["p"] == pytest.approx((values >= row["value"] - 1e-9).mean())
    assert row["permutations"] == 36


def test_given_numbers_all_languages_are_permuted():
    sizes = (10.0, 100.0, 1000.0, 5.0, 7.0, 400.0)
    row = row_of(association(table(7), metadata(family=FAMILY, size=sizes)), "family", "size")
    pairs = list(itertools.combinations(range(6), 2))
    close = -rankdata([abs(np.log(sizes[i] / sizes[j])) for i, j in pairs])
    same = rankdata([FAMILY[i] == FAMILY[j] for i, j in pairs])

    def partial(order):
        own = rankdata([table(7).values[order[i], order[j]] for i, j in pairs])
        first, second, both = (np.corrcoef(*pair)[0, 1]
                               for pair in ((own, same), (own, close), (same, close)))  # fmt: skip
        return (first - second * both) / np.sqrt((1 - second**2) * (1 - both**2))

    values = np.array([partial(order) for order in itertools.permutations(range(6))])
    assert row["value"] == pytest.approx(values[0])
    assert row["p"] == pytest.approx((values >= row["value"] - 1e-9).mean())


def test_a_column_that_the_other_decides_is_not_tested():
    """Each family has one order, and SVO has two families."""
    columns = {"family": list("ppqqrr"), "order": ["SVO", "SVO", "SVO", "SVO", "SOV", "SOV"]}
    rows = association(table(3), metadata(**columns))
    note = row_of(rows, "order", "family")["note"]
    assert note == "family decides order, so they cannot be told apart"
    row = row_of(rows, "family", "order")
    assert row["permutations"] == 4 * 3 * 2 * 2 and row["smallest_p"] == pytest.approx(1 / 3)


def test_columns_with_the_same_groups_cannot_be_told_apart():
    order = ["SVO" if one == "x" else "SOV" for one in FAMILY]
    rows = association(close_families(), metadata(family=FAMILY, order=order))
    for pair in (("family", "order"), ("order", "family")):
        row = row_of(rows, *pair)
        assert "value" not in row and "p" not in row
        assert row["note"] == "{} and {} cannot be told apart".format(*pair)
    assert "family given order: not tested: family and order cannot be told apart" in summary(rows)


def test_strongly_related_columns_are_called_confounded():
    sizes = (10.0, 11.0, 12.0, 1000.0, 1100.0, 1200.0)
    row = row_of(association(close_families(), metadata(family=FAMILY, size=sizes)),
                 "family", "size")  # fmt: skip
    assert row["note"] == "approximate, family and size are confounded" and 0.7 < row["shared"] < 1


def test_p_values_are_corrected_for_their_number():
    columns = {"family": FAMILY, "size": (10.0, 100.0, 1000.0, 5.0, 7.0, 400.0)}
    rows = association(table(7), metadata(**columns))
    single = sorted((row for row in rows if "given" not in row), key=lambda row: row["p"])
    assert single[0]["p_holm"] == pytest.approx(min(1, 2 * single[0]["p"]))


def test_unknown_facts_leave_a_language_out():
    facts = metadata(family=("x", "x", "y", "y", None, None), note=("q", "q", *[None] * 4))
    rows = association(table(), facts)
    assert row_of(rows, "family")["languages"] == 4
    assert row_of(rows, "note")["note"] == "fewer than 3 languages"
    alike = association(table(), metadata(family="x" * 6))
    assert alike[0]["note"] == "all pairs are alike"
    equal = SquareTable(NAMES, np.ones((6, 6)))
    sizes = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    assert association(equal, metadata(size=sizes))[0]["note"] == "all similarities are equal"
