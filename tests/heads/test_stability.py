"""Agreement: published figures, textbook examples, and every formula computed another way."""

import math
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.stability import (
    against_chance,
    agreement,
    cochrans_q,
    fleiss_kappa,
    krippendorff_alpha,
    mean_jaccard,
    survival,
)
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.rank_agreement import rank_agreement

MODULES = [f"encoder.layers.{n}.self_attn" for n in range(12)]
BERT = Anatomy(dict.fromkeys(MODULES, 12), {"encoder.layers.0": 2})


def needs(library):
    return pytest.importorskip(library, reason=f"{library} is not installed here")


@st.composite
def tables(draw, components=(1, 12), choices=(2, 5)):
    shape = draw(st.integers(*components)), draw(st.integers(*choices))
    bits = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.array(bits).reshape(shape)


def kappa_by_pairs(table):
    """Scott's way: agreeing ordered pairs at a component against the squares of the marginals."""
    choices = table.shape[1]
    pairs = [(a, b) for a in range(choices) for b in range(choices) if a != b]
    agree = np.mean([[row[a] == row[b] for a, b in pairs] for row in table])
    share = table.mean()
    chance = share**2 + (1 - share) ** 2
    return (agree - chance) / (1 - chance)


def alpha_by_coincidences(table):
    """Krippendorff's computation by the matrix of coincidences, with loops."""
    coincidences = np.zeros((2, 2))
    choices = table.shape[1]
    for row in table.astype(int):
        for a, b in product(range(choices), repeat=2):
            if a != b:
                coincidences[row[a], row[b]] += 1 / (choices - 1)
    n = coincidences.sum(axis=0)
    return 1 - (n.sum() - 1) * coincidences[0, 1] / (n[0] * n[1])


def q_by_its_definition(table):
    """Cochran 1950: spread of the columns' totals over that within rows."""
    choices = table.shape[1]
    columns, rows = table.sum(axis=0), table.sum(axis=1)
    spread = ((columns - columns.mean()) ** 2).sum()
    return choices * (choices - 1) * spread / (rows * (choices - rows)).sum()


@given(tables())
@PROPERTY
def test_kappa_and_alpha_and_their_relation(table):
    needs("statsmodels")
    kappa, alpha = fleiss_kappa(table), krippendorff_alpha(table)
    if table.all() or not table.any():
        assert math.isnan(kappa) and math.isnan(alpha)
        return
    assert kappa == pytest.approx(kappa_by_pairs(table), abs=1e-12)
    assert alpha == pytest.approx(alpha_by_coincidences(table), abs=1e-12)
    assert 1 - alpha == pytest.approx((1 - kappa) * (table.size - 1) / table.size, abs=1e-12)


@given(tables())
@PROPERTY
def test_alpha_by_coincidences(table):
    if table.all() or not table.any():
        assert math.isnan(krippendorff_alpha(table))
    else:
        assert krippendorff_alpha(table) == pytest.approx(alpha_by_coincidences(table), abs=1e-12)


@given(tables())
@PROPERTY
def test_q_by_its_definition(table):
    needs("statsmodels")
    chi2 = needs("scipy.stats").chi2
    q, p = cochrans_q(table)
    if all((column == table[:, 0]).all() for column in table.T):
        assert math.isnan(q) and math.isnan(p)
        return
    assert q == pytest.approx(q_by_its_definition(table), abs=1e-9)
    assert p == pytest.approx(chi2(table.shape[1] - 1).sf(q_by_its_definition(table)), abs=1e-9)


@given(tables())
@PROPERTY
def test_jaccard_of_sets(table):
    kept = [set(np.flatnonzero(column)) for column in table.T]
    pairs = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in combinations(kept, 2)]
    assert mean_jaccard(table) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_krippendorffs_example_of_binary_data():
    """Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", part A: 0.095."""
    meg, owen = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = krippendorff_alpha(np.array([meg, owen], dtype=bool).T)
    assert round(found, 3) == 0.095 and found == pytest.approx(1 - 19 * 4 / (14 * 6))


def test_cochrans_example():
    """Cochran 1950: growth of 69 cultures on four media, Q = 8.05."""
    needs("statsmodels")
    rows = [[1, 1, 1, 1]] * 4 + [[1, 1, 0, 1]] * 2 + [[0, 1, 1, 1]] * 3 + [[0, 1, 0, 1]]
    q, p = cochrans_q(np.array(rows + [[0, 0, 0, 0]] * 59, dtype=bool))
    assert q == pytest.approx(153 / 19) and round(q, 2) == 8.05
    assert 0.04 < p < 0.05


def test_q_tests_sizes_and_not_agreement():
    """Halves without a component in common: Q is 0, kappa and alpha say that nothing agrees."""
    needs("statsmodels")
    half = np.arange(144) < 72
    apart = np.stack([half, ~half], axis=1)
    assert cochrans_q(apart) == (0.0, 1.0)
    assert fleiss_kappa(apart) == pytest.approx(-1) and mean_jaccard(apart) == 0
    nested = np.stack([np.arange(144) < 72, np.arange(144) < 100], axis=1)
    q, p = cochrans_q(nested)
    assert q == pytest.approx(28) and p < 1e-6 and mean_jaccard(nested) == 0.72


def hypergeometric_jaccard(components, first, second):
    """The index by chance of two choices of fixed sizes, exactly; with its distribution."""
    chances = {}
    for both in range(max(0, first + second - components), min(first, second) + 1):
        ways = math.comb(first, both) * math.comb(components - first, second - both)
        chances[both / (first + second - both)] = ways / math.comb(components, second)
    return chances


@pytest.mark.parametrize(
    "components, first, second, shared", [(144, 72, 60, 40), (12, 8, 7, 6), (20, 5, 5, 0)]
)
def test_chance_of_two_choices_is_hypergeometric(components, first, second, shared):
    table = np.zeros((components, 2), dtype=bool)
    table[:first, 0] = True
    table[first - shared : first - shared + second, 1] = True
    exact = hypergeometric_jaccard(components, first, second)
    found = mean_jaccard(table)
    mean = sum(value * chance for value, chance in exact.items())
    spread = sum((value - mean) ** 2 * chance for value, chance in exact.items()) ** 0.5
    p = sum(chance for value, chance in exact.items() if value >= found - 1e-9)
    chance, tested = against_chance(table, permutations=4000, seed=3)
    assert abs(chance - mean) < 4 * spread / 4000**0.5
    assert abs(tested - p) < 4 * (p * (1 - p) / 4000) ** 0.5 + 1 / 4001


def test_p_is_never_zero_and_the_same_under_one_seed():
    column = np.arange(100) < 50
    table = np.stack([column] * 5, axis=1)
    assert against_chance(table, 99)[1] == 1 / 100
    mixed = np.stack([np.roll(column, n * 20) for n in range(3)], axis=1)
    assert against_chance(mixed, 50, seed=2) == against_chance(mixed, 50, seed=2)
    assert against_chance(mixed, 50, seed=2) != against_chance(mixed, 50, seed=3)
    assert against_chance(np.ones((4, 3), dtype=bool), 9) == (1.0, 1.0)


def test_p_is_uniform_where_choices_are_chance():
    """200 tests of random choices: about a tenth of the p-values are below 0.1."""
    ps = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        table = np.stack([generator.permutation(30) < 15 for _ in range(3)], axis=1)
        ps.append(against_chance(table, 99, seed)[1])
    assert 7 <= sum(p <= 0.1 for p in ps) <= 35 and 0.42 < np.mean(ps) < 0.62


def test_agreement_of_choices():
    needs("statsmodels")
    start = ComponentMask(BERT, {})
    good = STRATEGIES["random"](StrategyInput(start, count=36, seed=1))
    choices = [STRATEGIES["random"](StrategyInput(good, count=72, seed=seed)) for seed in (2, 3, 4)]
    found = agreement(choices, permutations=200)
    table = survival(choices)
    assert (found.components, found.sizes) == (144, (72, 72, 72))
    assert (
        table.shape == (144, 3)
        and table[:, 0].tolist()
        == np.concatenate([keep.numpy() for keep in choices[0]["heads"].values()]).tolist()
    )
    kept = [set(map(tuple, np.argwhere(column))) for column in table.T]
    assert found.intersection == len(kept[0] & kept[1] & kept[2])
    assert found.union == len(kept[0] | kept[1] | kept[2]) <= 108
    assert found.jaccard_p == 1 / 201 and found.jaccard > found.chance
    assert found.q == 0 and found.kappa == fleiss_kappa(table)
    assert found.alpha == krippendorff_alpha(table)


def test_kinds_and_types_are_looked_at_alone():
    anatomy = Anatomy(
        {"encoder.layers.0.self_attn": 2, "decoder.layers.0.self_attn": 3}, {"encoder.layers.0": 2}
    )
    units = {"encoder.layers.0": [0]}
    components = [
        ComponentMask(anatomy, {"heads": {"decoder.layers.0.self_attn": [n]}, "units": units})
        for n in (0, 1)
    ]
    assert survival(components, types=("dec_self",)).tolist() == [
        [False, True],
        [True, False],
        [True, True],
    ]
    assert survival(components, "units").tolist() == [[False, False], [True, True]]
    assert survival(components, types=("enc_self",)).all()
    with pytest.raises(LotteryError, match="no heads of type 'enc_dec'; it has enc_self, dec_self"):
        survival(components, types=("enc_self", "enc_dec"))


def test_chance_is_over_what_was_ruled_over():
    """Half of one type of three, at random: over all heads two seeds agree by construction."""
    needs("scipy"), needs("statsmodels")
    names = {f"encoder.layers.{n}.self_attn": 8 for n in range(6)}
    for attention in ("self_attn", "encoder_attn"):
        names.update({f"decoder.layers.{n}.{attention}": 8 for n in range(6)})
    start, types = ComponentMask(Anatomy(names, {}), {}), ("enc_self",)
    found = {None: [], types: []}
    for seed in range(0, 20, 2):
        choices = [
            STRATEGIES["random"](StrategyInput(start, fraction=0.5, types=types, seed=seed + n))
            for n in (0, 1)
        ]
        for over, ps in found.items():
            ps.append(agreement(choices, types=over, permutations=100).jaccard_p)
    assert [sum(p < 0.05 for p in ps) for ps in found.values()] == [10, 0]


def test_refusals_of_choices():
    one = ComponentMask(BERT, {})
    other = ComponentMask(Anatomy({MODULES[0]: 12}, {}), {})
    with pytest.raises(LotteryError, match="at least two choices, not 1"):
        agreement([one])
    with pytest.raises(LotteryError, match="of different models"):
        survival([one, other])
    for asked, message in (
        ({"kind": "tails"}, "'tails' cannot be pruned"),
        ({"types": ("enc_dec",)}, "no heads of type 'enc_dec'"),
    ):
        with pytest.raises(LotteryError, match=message):
            survival([one, one], **asked)


def scores(*values):
    return {"heads": {"a": torch.tensor(values[:2]), "b": torch.tensor(values[2:])}}


def tau_b(x, y):
    """By all pairs."""
    pairs = list(combinations(range(len(x)), 2))
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in pairs]
    spread = [sum(s[k] != 0 for s in signs) for k in (0, 1)]
    return sum(a * b for a, b in signs) / math.sqrt(spread[0] * spread[1])


def rho(x, y):
    """Pearson's correlation of mean ranks."""
    ranks = [[sum(w < v for w in x) + sum(w == v for w in x) / 2 for v in x] for x in (x, y)]
    return np.corrcoef(*ranks)[0, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=9))
@PROPERTY
def test_ranks_by_their_definitions(values):
    needs("scipy")
    first, second = (list(map(float, one)) for one in zip(*values))
    found = rank_agreement(scores(*first), scores(*second))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert math.isnan(found.spearman) and math.isnan(found.kendall)
    else:
        assert found.spearman == pytest.approx(rho(first, second), abs=1e-9)
        assert found.kendall == pytest.approx(tau_b(first, second), abs=1e-9)
    ends = [sorted(range(len(x)), key=lambda n: (x[n], n))[: found.lowest] for x in (first, second)]
    assert found.overlap == len(set(ends[0]) & set(ends[1])) / found.lowest
    assert (
        found.chance == found.lowest / found.components and found.lowest == (len(values) + 1) // 2
    )


def test_the_same_and_the_opposite_ranking():
    needs("scipy")
    up, down = scores(1.0, 2.0, 3.0, 4.0), scores(8.0, 4.0, 2.0, 1.0)
    same, opposite = rank_agreement(up, up), rank_agreement(up, down)
    assert (same.spearman, same.kendall, same.overlap) == pytest.approx((1, 1, 1))
    assert (opposite.spearman, opposite.kendall, opposite.overlap) == pytest.approx((-1, -1, 0))
    assert (same.components, same.lowest, same.chance) == (4, 2, 0.5)


def test_refusals_of_measures():
    needs("scipy")
    up = scores(1.0, 2.0, 3.0, 4.0)
    with pytest.raises(LotteryError, match="of different models"):
        rank_agreement(up, scores(1.0, 2.0, 3.0))
    with pytest.raises(LotteryError, match="no scores for units"):
        rank_agreement(up, up, kind="units")
    with pytest.raises(LotteryError, match="no scores for heads"):
        rank_agreement({}, {})
    with pytest.raises(LotteryError, match="not all finite"):
        rank_agreement(up, scores(1.0, 2.0, 3.0, float("inf")))
