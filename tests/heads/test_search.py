"""Searches with a made-up importance and metric: every step against a plain loop."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY, full_mask, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.importance import normalised
from fairseq_lottery.heads.searches.search import (
    grid,
    m_pruning,
    s_pruning,
    stepwise,
    survivors,
)
from fairseq_lottery.heads.searches.subnetworks import weight_subnetworks
from fairseq_lottery.masks import Mask, find_score, score_all, select

#: BERT base as a stack of layers: 144 heads, 12 FFN blocks
LAYERS = [f"encoder.layers.{n}" for n in range(12)]
BERT = ComponentMask(Anatomy({f"{n}.self_attn": 12 for n in LAYERS}, dict.fromkeys(LAYERS, 4)), {})


def worths(components, seed=1, zero=()):
    """What each component adds to the metric; kinds in ``zero`` add nothing."""
    generator = torch.Generator().manual_seed(seed)
    return {
        kind: {
            n: torch.rand(s, generator=generator, dtype=torch.float64) * (kind not in zero)
            for n, s in modules.items()
        }
        for kind, modules in components.anatomy.sizes.items()
    }


class Model:
    """Its metric is the sum over open components; it notes where it was asked what."""

    def __init__(self, worth):
        self.worth, self.estimated, self.measured = worth, [], []

    def estimate(self, components):
        self.estimated.append(components)
        return self.worth

    def measure(self, components):
        self.measured.append(components)
        return sum(
            float(values[components[kind][name]].sum())
            for kind, modules in self.worth.items()
            for name, values in modules.items()
        )


def sizes(step):
    """Heads and blocks that are open."""
    return tuple(step.choice.count(k) - step.choice.count_pruned(k) for k in ("heads", "blocks"))


def test_the_three_phases_have_the_steps_of_the_public_code():
    """14 heads and a block, then 7 heads, then a block; 144 heads and 12 blocks in the model."""
    model = Model(worths(BERT, zero=("units",)))
    steps = list(s_pruning(BERT, model.estimate, model.measure, share=0.7))
    found = [(step.phase, *sizes(step), step.enough) for step in steps]
    assert found[:4] == [
        ("full", 144, 12, True),
        ("heads+blocks", 130, 11, True),
        ("heads+blocks", 116, 10, True),
        ("heads+blocks", 102, 9, True),
    ]
    assert [row[0] for row in found] == sorted(
        (row[0] for row in found), key=["full", "heads+blocks", "heads", "blocks"].index
    )
    assert {row[0] for row in found} == {"full", "heads+blocks", "heads", "blocks"}
    heads, blocks = 144, 12
    for phase, left, whole, enough in found[1:]:
        heads_step, block_step = {"heads+blocks": (14, 1), "heads": (7, 0), "blocks": (0, 1)}[phase]
        assert (left, whole) == (heads - heads_step, blocks - block_step)
        if enough:  # else the next step goes on from the one before
            heads, blocks = left, whole
    assert [step.enough for step in steps].count(False) == 3  # each phase ends with one


@given(st.integers(0, 99), st.floats(0.05, 1), st.integers(0, 3))
@PROPERTY
def test_against_a_plain_loop(seed, share, at_least):
    anatomy = Anatomy(dict.fromkeys(BERT.anatomy.heads, 3), dict.fromkeys(LAYERS, 1))
    start = ComponentMask(anatomy, {})
    model = Model(worths(start, seed, zero=("units",)))
    bound = share * model.measure(start)
    heads = {
        (n, i): float(model.worth["heads"][n][i])
        for n, s in anatomy.heads.items()
        for i in range(s)
    }
    blocks = {n: float(model.worth["blocks"][n]) for n in LAYERS}
    expected, least = [(36, 12)], at_least

    def fits(h, b):
        return sum(h.values()) + sum(b.values()) >= bound

    for several, block in ((4, 1), (2, 0), (0, 1)):
        while True:
            h, b = dict(heads), dict(blocks)
            for component in sorted(heads, key=heads.get):
                kept = sum(name == component[0] for name, _ in h)
                if kept > least and len(heads) - len(h) < several:
                    del h[component]
            for name in sorted(blocks, key=blocks.get)[:block]:
                del b[name]
            if (several and len(h) == len(heads)) or (block and len(b) == len(blocks)):
                break
            expected.append((len(h), len(b)))
            if not fits(h, b):
                break
            heads, blocks = h, b
    steps = list(s_pruning(start, model.estimate, model.measure, share, at_least=at_least))
    assert [sizes(step) for step in steps] == expected
    result = survivors(steps).choice
    assert {(n, i) for n, i in heads} == {
        (n, i)
        for n, keep in result["heads"].items()
        for i in torch.nonzero(keep).flatten().tolist()
    }
    assert set(blocks) == {n for n, keep in result["blocks"].items() if bool(keep)}


def test_importance_is_asked_once_for_each_model_that_is_gone_on_from():
    model = Model(worths(BERT, zero=("units",)))
    steps = list(s_pruning(BERT, model.estimate, model.measure, share=0.7))
    kept = [step.choice for step in steps if step.enough]
    assert len(kept) > 5 and model.estimated == kept
    assert len(model.measured) == len(steps)


def test_scores_are_estimated_anew():
    """Where pruning a head makes its neighbour matter, the search turns elsewhere."""
    anatomy = Anatomy({"encoder.layers.0.self_attn": 4}, {"encoder.layers.0": 1})
    name = "encoder.layers.0.self_attn"

    def estimate(components):
        first_open = bool(components["heads"][name][0])
        heads = torch.tensor([1.0, 2.0, 3.0, 4.0] if first_open else [0.0, 9.0, 3.0, 4.0])
        return {"heads": {name: heads}, "blocks": {"encoder.layers.0": torch.zeros(1)}}

    given = StrategyInput(ComponentMask(anatomy, {}))
    again = survivors(stepwise(given, [0.25, 0.5], lambda components: 1.0, estimate))
    assert list(again.choice.pruned("heads")) == [(name, 0), (name, 2)]
    once = replace(given, scores=estimate(given.start))
    assert list(
        survivors(stepwise(once, [0.25, 0.5], lambda components: 1.0)).choice.pruned("heads")
    ) == [
        (name, 0),
        (name, 1),
    ]


def test_a_search_can_be_left_and_goes_on_where_it_was():
    """Nothing is measured before it is asked for."""
    model = Model(worths(BERT))
    steps = s_pruning(BERT, model.estimate, model.measure)
    assert not model.measured
    next(steps)
    assert len(model.measured) == 1 and not model.estimated
    third = [next(steps) for _ in range(2)][1]
    later = list(s_pruning(third.choice, model.estimate, model.measure))
    assert sizes(later[0]) == (116, 10)


def test_everything_can_be_pruned_where_the_metric_does_not_mind():
    """As happened on WNLI."""
    model = Model(worths(BERT))
    steps = list(s_pruning(BERT, model.estimate, lambda components: 0.56))
    assert all(step.enough for step in steps) and sizes(steps[-1]) == (0, 0)
    assert survivors(steps) is steps[-1]


def test_stepwise_visits_the_grid_and_stops_below_the_share():
    model = Model(worths(BERT, zero=("units", "blocks")))
    given = StrategyInput(BERT)
    steps = list(stepwise(given, grid(0.1, 0.9), model.measure, model.estimate))
    pruned = [step.choice.count_pruned("heads") for step in steps]
    assert pruned == [0, 14, 29, 43, 58, 72, 86, 101, 115, 130]
    assert all(step.enough for step in steps)
    some = list(stepwise(given, grid(0.1, 0.9), model.measure, model.estimate, share=0.9))
    assert [step.metric for step in some] == [step.metric for step in steps[: len(some)]]
    below = [step.metric < 0.9 * steps[0].metric for step in some]
    assert below == [False] * (len(some) - 1) + [True] and len(some) < len(steps)
    assert survivors(some).choice == some[-2].choice


def test_just_the_share_is_enough():
    given = StrategyInput(BERT, scores=worths(BERT))
    metrics = iter([0.8, 0.4, 0.4 - 1e-12])
    steps = list(stepwise(given, grid(0.1, 0.9), lambda components: next(metrics), share=0.5))
    assert [step.enough for step in steps] == [True, True, False]


@given(st.integers(1, 99), st.integers(1, 99))
@PROPERTY
def test_grid(step, last):
    step, last = sorted([step, last])
    found = grid(step / 100, last / 100)
    assert found == sorted({*(n / 100 for n in range(step, last, step)), last / 100})


def test_the_grid_of_tenths():
    assert grid(0.1, 0.9) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert grid(0.4, 0.9) == [0.4, 0.8, 0.9]


def test_m_pruning_takes_a_tenth_of_what_remains_from_the_smallest():
    mask, trained, seen = full_mask(), weights(3), []

    def measure(now):
        seen.append(now)
        return 1 - now.sparsity

    steps = list(m_pruning(mask, trained, measure, share=0.5))
    left, expected = mask.prunable, []
    for _ in range(7):
        left -= math.floor(left / 10 + 0.5)
        expected.append(left)
    assert [s.choice.prunable - s.choice.pruned for s in steps[1:]] == expected
    assert [s.enough for s in steps] == [True] * 7 + [False]  # 0.9 ** 6 is 0.53, 0.9 ** 7 is 0.48
    result = survivors(steps).choice
    rows = {n: [r for r in range(len(k)) if r != mask.protected.get(n)] for n, k in mask.items()}
    everything = torch.cat([trained[n][rows[n]].abs().flatten() for n in mask])
    threshold = everything.sort().values[result.pruned]
    for name, keep in result.items():
        assert torch.equal(keep[rows[name]], trained[name].abs()[rows[name]] >= threshold)


def test_m_pruning_ends_before_the_last_weight():
    steps = list(m_pruning(full_mask(), weights(3), lambda mask: 1.0, step=0.5))
    assert steps[4].choice.sparsity == pytest.approx(1 - 0.5**4, abs=2e-3)
    assert steps[-1].choice.prunable - steps[-1].choice.pruned == 1


@pytest.mark.parametrize("full", [0.0, -3.5, float("nan"), float("inf")])
def test_a_metric_that_has_no_share_is_refused(full):
    with pytest.raises(LotteryError, match="expected a finite number above 0"):
        next(s_pruning(BERT, worths, lambda components: full))
    assert next(stepwise(StrategyInput(BERT), [0.1], lambda components: full)).enough


def test_a_metric_that_is_not_a_number_ends_the_search():
    metrics = iter([1.0, 1.0, float("nan")])
    given = StrategyInput(BERT, scores=worths(BERT))
    steps = list(stepwise(given, grid(0.1, 0.9), lambda components: next(metrics), share=0.5))
    assert [step.enough for step in steps] == [True, True, False]


@pytest.mark.parametrize(
    "fractions, message",
    [
        ([], "must increase"),
        ([0.2, 0.2], "must increase"),
        ([0.5, 1.5], "1.5 to prune is outside"),
    ],
)
def test_fractions_that_do_not_rise_are_refused_before_anything_is_measured(fractions, message):
    with pytest.raises(LotteryError, match=message):
        next(stepwise(StrategyInput(BERT), fractions, lambda components: pytest.fail("measured")))


def test_other_refusals():
    with pytest.raises(LotteryError, match="share 1.5"):
        next(s_pruning(BERT, worths, len, share=1.5))
    with pytest.raises(LotteryError, match="steps of 0.5 up to 0.4"):
        grid(0.5, 0.4)
    with pytest.raises(LotteryError, match="step of 1 of the weights"):
        next(m_pruning(full_mask(), weights(3), len, step=1))
    with pytest.raises(LotteryError, match="scores of heads are required"):
        list(s_pruning(BERT, lambda components: {"blocks": {}}, lambda components: 1.0))


def test_scores_may_be_normalised_by_layer():
    """A layer of large scores counts as any other."""
    scores = worths(BERT)
    scores["heads"][f"{LAYERS[0]}.self_attn"] *= 1e-6
    plain = list(stepwise(StrategyInput(BERT, scores=scores), [1 / 12], lambda p: 1.0))[1].choice
    assert {n for n, _ in plain.pruned("heads")} == {f"{LAYERS[0]}.self_attn"}
    given = StrategyInput(BERT, scores=normalised(scores))
    even = list(stepwise(given, [1 / 12], lambda p: 1.0))[1].choice
    assert len({n for n, _ in even.pruned("heads")}) > 6


def parted(mask):
    """Module of a matrix -> what it keeps, its protected row left out."""
    found = {name: keep.clone() for name, keep in mask.items()}
    for name, row in mask.protected.items():
        found[name][row] = False
    return torch.cat([found[name].flatten() for name in mask])


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("digits", [1, 8])
def test_the_controls_of_m_pruning_have_its_size(sparsity, digits):
    """With one digit most magnitudes are equal to others: none survives twice all the same."""
    trained = {name: torch.round(w, decimals=digits) for name, w in weights(3).items()}
    full = full_mask()
    good = select({n: trained[n].abs() for n in full}, full, sparsity, "global")
    found = weight_subnetworks(good, trained, seed=1)
    assert found["good"] is good
    assert len({mask.pruned for mask in found.values()}) == 1
    kept = {name: parted(mask) for name, mask in found.items()}
    total, left = full.prunable, full.prunable - good.pruned
    overlap = int((kept["good"] & kept["bad"]).sum())
    assert overlap == max(0, 2 * left - total)  # as few as there can be
    sizes = torch.cat([trained[name].abs().flatten() for name in full])
    bad = kept["bad"] & ~kept["good"]
    out = ~kept["bad"] & ~kept["good"] & parted(full)
    if bad.any() and out.any():  # the largest are removed
        assert float(sizes[bad].max()) <= float(sizes[out].min())
    if sparsity == 0.5:
        shared = int((kept["good"] & kept["random"]).sum())
        assert shared == pytest.approx(left / 2, abs=left / 10)
    again = weight_subnetworks(good, trained, seed=2)
    assert again["bad"] == found["bad"] and (not sparsity or again["random"] != found["random"])


def test_the_random_control_of_m_pruning_is_not_the_random_mask_of_its_seed():
    """Both were drawn from one stream: one kept the other's weights."""
    generator = torch.Generator().manual_seed(1)
    trained = {"a": torch.randn(60, 50, generator=generator)}
    full = Mask.full({"a": (60, 50)})
    good = select({"a": trained["a"].abs()}, full, 0.5, "global")
    control = weight_subnetworks(good, trained, seed=1)["random"]
    mask = select(score_all(find_score("random")[0], trained, seed=1), full, 0.5, "global")
    shared = int((control["a"] & mask["a"]).sum())
    assert shared == pytest.approx(750, abs=3.3 * 14)  # of 1,500 each, by chance
