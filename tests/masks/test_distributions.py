"""Distributions of a sparsity over matrices, by hand, by another computation, and as scopes."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from small import EMBEDDING, PROPERTY, full_mask, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, count_to_prune, score_all, select
from fairseq_lottery.masks.distributions import (
    DISTRIBUTIONS,
    Matrix,
    dense_note,
    distribute,
    erk_quotas,
)
from fairseq_lottery.masks.scores import random

#: sizes 48, 64 and 600; sums of rows and columns 16, 16 and 50
THREE = {"a": (4, 12), "b": (8, 8), "c": (20, 30)}


def kept_in(mask):
    return {name: mask.size(name) - mask.pruned_in(name) for name in mask}


def counts(scope, mask, kept, excluded=None):
    pruned = distribute(scope, mask, kept, excluded)
    return {name: mask.size(name) - count for name, count in pruned.items()}


# --- by hand -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kept, expected",
    [
        # epsilon 178 / 82: 34.73, 34.73 and 108.54; the two that are missing go to a and b
        (178, {"a": 35, "b": 35, "c": 108}),
        # epsilon 300 / 82 gives a 58.5 of 48; then (300 - 48) / 66 = 3.818: 61.09 and 190.91
        (300, {"a": 48, "b": 61, "c": 191}),
        # then (312 - 48) / 66 = 4 fills b exactly, without a second round
        (312, {"a": 48, "b": 64, "c": 200}),
        # (313 - 48) / 66 gives b 64.24 of 64, so b is dense too: the rest is 313 - 48 - 64
        (313, {"a": 48, "b": 64, "c": 201}),
        (0, {"a": 0, "b": 0, "c": 0}),
        (712, {"a": 48, "b": 64, "c": 600}),
    ],
)
def test_erk_of_three_shapes_by_hand(kept, expected):
    assert counts("erk", Mask.full(THREE), kept) == expected


def test_kernels_add_up_all_dimensions():
    """Evci et al. 2020: (n_in + n_out + w + h) / (n_in * n_out * w * h)."""
    mask = Mask.full({"linear": (30, 30), "kernel": (4, 6, 3, 3)})
    # epsilon 152 / 76 = 2
    assert counts("erk", mask, 152) == {"linear": 120, "kernel": 32}


def test_uniform_by_hand():
    shapes = {EMBEDDING: (11, 4), "encoder.layers.0.fc1.weight": (7, 10), "z.weight": (3, 11)}
    mask = Mask.full(shapes, {EMBEDDING: 1})
    # 143 prunable weights, 40 of them of the embedding; 26 kept of 103: 17.67 and 8.33
    assert counts("uniform", mask, 66) == {
        EMBEDDING: 40, "encoder.layers.0.fc1.weight": 18, "z.weight": 8,
    }  # fmt: skip
    chosen = select({n: torch.rand(s) for n, s in shapes.items()}, mask, 77 / 143, "uniform")
    assert kept_in(chosen) == counts("uniform", mask, 66)
    assert chosen.pruned_in(EMBEDDING) == 0


def test_a_sparsity_that_uniform_cannot_reach_is_refused():
    shapes = {EMBEDDING: (11, 4), "w.weight": (7, 10)}
    mask, scores = Mask.full(shapes), {n: torch.rand(s) for n, s in shapes.items()}
    sentence = (
        "--scope uniform keeps embeddings dense, which are 44 of 114 prunable weights, but the"
        " sparsity keeps 43; use a sparsity of at most 0.614, or --scope erk, or --prunable"
        " no-embeddings"
    )
    with pytest.raises(LotteryError) as refused:
        select(scores, mask, 71 / 114, "uniform")
    assert str(refused.value) == sentence
    assert select(scores, mask, 0.614, "uniform").pruned == 70
    alone = Mask.full({EMBEDDING: (11, 4)})
    assert select(scores, alone, 0.0, "uniform") == alone
    with pytest.raises(LotteryError, match="44 of 44 .* keeps 43; use a sparsity of at most 0, or"):
        select(scores, alone, 1 / 44, "uniform")


# --- by another computation ----------------------------------------------------------------


def quotas_by_dense_sets(matrices, kept):
    """ERK by its definition: the one set of dense matrices that agrees with its own epsilon."""
    names = sorted(matrices, key=lambda n: Fraction(matrices[n].extent, matrices[n].size))[::-1]
    for number in range(len(names) + 1):
        dense, sparse = names[:number], names[number:]
        rest = kept - sum(matrices[name].size for name in dense)
        extents = sum(matrices[name].extent for name in sparse)
        if rest < 0 or (not sparse and rest):
            continue
        epsilon = Fraction(rest, extents) if extents else Fraction(0)
        densities = {n: epsilon * matrices[n].extent / matrices[n].size for n in sparse}
        too_small = [n for n in dense if sparse and epsilon * matrices[n].extent < matrices[n].size]
        if all(density <= 1 for density in densities.values()) and not too_small:
            return {n: densities.get(n, Fraction(1)) * matrices[n].size for n in matrices}
    raise AssertionError("no set of dense matrices agrees with its epsilon")


SHAPES = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=6)


@PROPERTY
@given(SHAPES, st.data())
def test_erk_equals_its_definition_and_largest_remainders(shapes, data):
    mask = Mask.full({chr(97 + number): shape for number, shape in enumerate(shapes)})
    matrices = {n: Matrix(k.numel(), sum(k.shape)) for n, k in mask.items()}
    kept = data.draw(st.integers(0, mask.prunable))
    quotas = quotas_by_dense_sets(matrices, kept)
    assert erk_quotas(matrices, kept) == quotas
    expected = {name: math.floor(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: (expected[name] - quotas[name], name))
    for name in by_remainder[: kept - sum(expected.values())]:
        expected[name] += 1
    assert counts("erk", mask, kept) == expected
    assert sum(expected.values()) == kept
    assert all(0 <= count <= mask.size(name) for name, count in expected.items())


@PROPERTY
@given(SHAPES, st.lists(st.integers(0, 9999), min_size=2, max_size=8), st.sampled_from("eu"))
def test_a_rising_sparsity_is_exact_and_never_regrows(shapes, shares, scope):
    scope = {"e": "erk", "u": "uniform"}[scope]
    names = [f"{number}.weight" for number in range(len(shapes))]
    if scope == "uniform" and len(names) > 1:
        names[0] = EMBEDDING
    current = Mask.full(dict(zip(names, shapes)))
    scores = {name: torch.rand(shape) for name, shape in zip(names, shapes)}
    for share in sorted(shares):
        sparsity = share / 10_000
        count = count_to_prune(sparsity, current.prunable)
        assume(scope == "erk" or current.prunable - count >= current.size(names[0]))
        mask = select(scores, current, sparsity, scope)
        assert mask.pruned == count
        assert mask.is_subset_of(current)
        quotas = DISTRIBUTIONS[scope](
            {n: Matrix(k.numel(), sum(k.shape)) for n, k in mask.items()}, mask.prunable - count
        )
        assert all(kept_in(mask)[name] >= math.floor(quotas[name]) for name in mask)
        current = mask


def test_largest_remainders_alone_would_regrow():
    """The Alabama paradox: of 7 weights b keeps 1, and of 6 its remainder is the largest."""
    mask = Mask.full({"a": (1, 4), "b": (1, 2), "c": (4, 1)})
    assert counts("erk", mask, 7) == {"a": 3, "b": 1, "c": 3}
    assert counts("erk", mask, 6) == {"a": 2, "b": 2, "c": 2}
    scores = {name: torch.rand(keep.shape) for name, keep in mask.items()}
    seven = select(scores, mask, 0.3, "erk")
    six = select(scores, seven, 0.4, "erk")
    assert kept_in(six) == {"a": 3, "b": 1, "c": 2}
    assert six.is_subset_of(seven)


def test_what_others_have_no_room_for_goes_round_again():
    """Three matrices keep 2 of a quota of 2.67 each, so the fourth gets both missing weights."""
    two = torch.zeros(4, 4, dtype=torch.bool)
    two[0, :2] = True
    mask = Mask({"b": two, "c": two, "d": two, "z": torch.ones(12, 12, dtype=torch.bool)})
    assert counts("erk", mask, 16) == {"b": 2, "c": 2, "d": 2, "z": 10}
    with pytest.raises(LotteryError, match="b keeps 2 weights, but --scope erk keeps 3 of it at"):
        counts("erk", mask, 18)


# --- as scopes -----------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["uniform", "erk"])
def test_each_matrix_loses_its_lowest_scores(scope):
    mask, trained = full_mask(), weights(3)
    scores = {name: trained[name].abs() for name in mask}
    chosen = select(scores, mask, 0.6, scope)
    assert chosen.pruned == count_to_prune(0.6, mask.prunable)
    for name, keep in chosen.items():
        allowed = mask[name].clone()
        if name in mask.protected:
            allowed[mask.protected[name]] = False
        lost = scores[name][allowed & ~keep]
        assert not len(lost) or lost.max() <= scores[name][allowed & keep].min()
    densities = [kept / chosen.size(n) for n, kept in kept_in(chosen).items() if n != EMBEDDING]
    assert (max(densities) - min(densities) > 0.1) == (scope == "erk")
    assert (chosen.pruned_in(EMBEDDING) == 0) == (scope == "uniform")


@pytest.mark.parametrize("scope", ["uniform", "erk"])
def test_random_masks_of_a_distribution_differ_by_seed_alone(scope):
    mask, trained = full_mask(), weights(3)
    one, other, again = (
        select(score_all(random, {n: trained[n] * k for n in mask}, seed=s), mask, 0.6, scope)
        for s, k in ((1, 1.0), (2, 1.0), (1, -5.0))
    )
    assert one == again and one != other
    assert kept_in(one) == kept_in(other) == counts(scope, mask, mask.prunable - one.pruned)


@pytest.mark.parametrize("scope", ["uniform", "erk"])
def test_pruned_components_count_as_cut_out(scope):
    """Two of six rows of fc1 and four columns of out are those of pruned components."""
    keep = {n: torch.ones(s, dtype=torch.bool) for n, s in THREE.items()}
    keep["c"][5:7] = False
    keep["a"][:, 3:7] = False
    keep["b"][:] = False
    current = Mask(keep)
    scores = {name: torch.rand(shape) for name, shape in THREE.items()}
    mask = select(scores, current, 0.7, scope, excluded=current)
    cut = Mask.full({"a": (4, 8), "c": (18, 30)})
    slim = counts(scope, cut, cut.prunable - count_to_prune(0.7, cut.prunable))
    assert kept_in(mask) == {**slim, "b": 0}
    assert mask.is_subset_of(current)


def test_a_mask_of_another_distribution_is_refused():
    scores = {name: torch.rand(shape) for name, shape in THREE.items()}
    layer = select(scores, Mask.full(THREE), 0.5)
    sentence = "a keeps 24 weights, but --scope erk keeps 48 of it at this sparsity, and masks"
    with pytest.raises(LotteryError, match=sentence):
        select(scores, layer, 0.5, "erk")
    with pytest.raises(LotteryError, match="356 weights of the model are pruned already"):
        select(scores, layer, 0.4, "erk")
    assert select(scores, layer, 0.9, "erk").pruned == count_to_prune(0.9, 712)


def test_a_note_names_dense_matrices_of_erk_only():
    scores = {name: torch.rand(shape) for name, shape in THREE.items()}
    mask = select(scores, Mask.full(THREE), 1 - 300 / 712, "erk")
    assert dense_note("erk", mask) == "--scope erk keeps all weights of 1 of 3 matrices, such as a"
    assert dense_note("layer", mask) == ""
    assert dense_note("erk", select(scores, mask, 0.75, "erk")) == ""
    assert "of 3 of 3 matrices" in dense_note("erk", Mask.full(THREE))
