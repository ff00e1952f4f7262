import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, count_to_prune, score_all, select


def sorted_selection(scores, current, sparsity, scope="layer", min_density=0.0):
    """The written rule, by sorting: name -> set of positions that stay."""
    lowest_first, stay, droppable = {}, {}, {}
    for name in sorted(scores):
        row, width = current.protected.get(name), scores[name].shape[1]
        stay[name] = set(range(scores[name].numel()))
        prunable = [i for i in sorted(stay[name]) if row is None or i // width != row]
        keep, values = current[name].reshape(-1).tolist(), scores[name].reshape(-1).tolist()
        lowest_first[name] = sorted(
            (values[i] if keep[i] else -math.inf, name, i) for i in prunable
        )
        count = len(prunable) - math.ceil(Fraction(repr(min_density)) * len(prunable))
        droppable[name] = max(count, current.pruned_in(name))
    if scope == "layer":
        drop = [
            entry
            for entries in lowest_first.values()
            for entry in entries[: count_to_prune(sparsity, len(entries))]
        ]
    else:
        total = sum(map(len, lowest_first.values()))
        pool = sorted(
            e for name, entries in lowest_first.items() for e in entries[: droppable[name]]
        )
        drop = pool[: count_to_prune(sparsity, total)]
    for _, name, i in drop:
        stay[name].remove(i)
    return stay


def positions(mask):
    return {n: set(torch.nonzero(k.reshape(-1))[:, 0].tolist()) for n, k in mask.items()}


@st.composite
def selections(draw, scope="layer"):
    """Scores with ties in two or three matrices, a mask with pruned and protected entries."""
    score = draw(st.sampled_from([st.integers(-2, 2).map(float), st.floats(-1e3, 1e3, width=32)]))
    scores, keep, protected = {}, {}, {}
    for name in draw(st.sampled_from([("b", "a"), ("a", "c", "b")])):
        rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 5))
        size = rows * columns
        values = draw(st.lists(score, min_size=size, max_size=size))
        bits = draw(st.lists(st.sampled_from([True, True, False]), min_size=size, max_size=size))
        scores[name] = torch.tensor(values).reshape(rows, columns)
        keep[name] = torch.tensor(bits).reshape(rows, columns)
        if rows > 1 and draw(st.booleans()):
            protected[name] = draw(st.integers(0, rows - 1))
            keep[name][protected[name]] = True
    current = Mask(keep, protected)
    pruned = current.sparsity
    if scope == "layer":
        pruned = max(current.sparsity_of(name) for name in current)
    assume(pruned < 1)
    sparsity = draw(st.floats(pruned, 1, exclude_max=True))
    return scores, current, sparsity


@PROPERTY
@given(selections("layer"))
def test_layer_scope_equals_sorting_each_matrix(case):
    scores, current, sparsity = case
    mask = select(scores, current, sparsity)
    assert positions(mask) == sorted_selection(scores, current, sparsity)
    for name in mask:
        assert mask.pruned_in(name) == count_to_prune(sparsity, current.size(name))
    assert mask.is_subset_of(current) and mask.protected == current.protected


@PROPERTY
@given(selections("global"), st.sampled_from([0.0, 0.1, 1 / 3, 0.5]))
def test_global_scope_equals_sorting_all_matrices(case, min_density):
    scores, current, sparsity = case
    count = count_to_prune(sparsity, current.prunable)
    # the least that must stay: the minimum's share, or what is left of it already
    least = {
        n: min(math.ceil(Fraction(repr(min_density)) * current.size(n)), current.size(n) - p)
        for n, p in ((n, current.pruned_in(n)) for n in current)
    }
    if count > current.prunable - sum(least.values()):
        with pytest.raises(LotteryError, match=f"requires {count}; lower"):
            select(scores, current, sparsity, "global", min_density)
        return
    mask = select(scores, current, sparsity, "global", min_density)
    assert positions(mask) == sorted_selection(scores, current, sparsity, "global", min_density)
    assert mask.pruned == count
    assert all(mask.size(n) - mask.pruned_in(n) >= least[n] for n in mask)
    assert mask.is_subset_of(current) and mask.protected == current.protected


@PROPERTY
@given(st.integers(1, 10**8), st.integers(0, 99_999))
def test_the_count_is_the_nearest_whole_number(size, hundred_thousandths):
    sparsity = hundred_thousandths / 100_000
    assert count_to_prune(sparsity, size) == (2 * hundred_thousandths * size + 100_000) // 200_000


def test_halves_are_rounded_up_and_decimals_are_meant_as_written():
    assert [count_to_prune(0.5, size) for size in (1, 2, 3, 5)] == [1, 1, 2, 3]
    assert count_to_prune(0.7, 10) == 7 and count_to_prune(0.15, 10) == 2
    assert count_to_prune(0.9, 44_000_000) == 39_600_000
    assert count_to_prune(np.float32(0.5), 4) == 2


def test_among_equals_the_first_is_pruned_by_name_and_position():
    scores = {"b": torch.zeros(2, 2), "a": torch.tensor([[1.0, 0.0], [0.0, 0.0]])}
    mask = select(scores, Mask.full({"b": (2, 2), "a": (2, 2)}), 0.5, "global")
    assert mask["a"].tolist() == [[True, False], [False, False]]
    assert mask["b"].tolist() == [[False, True], [True, True]]
    again = select(
        dict(reversed(scores.items())), Mask.full({"a": (2, 2), "b": (2, 2)}), 0.5, "global"
    )
    assert again == mask


def test_negative_zero_is_zero():
    full = Mask.full({"w": (1, 6)})
    scores = torch.tensor([[1.0, 0.0, -0.0, 0.0, -0.0, -1.0]])
    mask = select({"w": scores}, full, 4 / 6)
    assert mask["w"].tolist() == [[True, False, False, False, True, False]]
    assert mask == select({"w": scores.abs() * scores.sign()}, full, 4 / 6)


def test_scores_are_compared_in_single_precision():
    scores = torch.tensor([[1.0, 1.0 - 1e-9, 2.0]], dtype=torch.float64)
    mask = select({"w": scores}, Mask.full({"w": (1, 3)}), 1 / 3)
    assert mask["w"].tolist() == [[False, True, True]]


def large(pattern, size=300_000, seed=0):
    """Scores of more than 509 samples' worth, as three matrices."""
    generator = np.random.Generator(np.random.Philox(seed))
    index = np.arange(size)
    values = {
        "distinct": lambda: generator.permutation(size),
        "few values": lambda: generator.integers(-3, 4, size),
        "constant": lambda: np.full(size, 2.0),
        "mostly zero": lambda: generator.standard_normal(size) * (generator.random(size) < 0.02),
        "half precision": lambda: np.abs(generator.standard_normal(size)).astype(np.float16),
        # what the sample sees is higher, lower, or other than all the rest
        "sample too high": lambda: np.where(index % 509 == 0, 1e9, generator.random(size)),
        "sample too low": lambda: np.where(index % 509 == 0, -1e9, generator.random(size)),
        "sample constant": lambda: np.where(index % 509 == 0, 0.0, generator.standard_normal(size)),
        "sorted": lambda: index,
        "reversed": lambda: -index,
    }[pattern]().astype(np.float32)
    # multiples of 509, so that the sample of each matrix meets the pattern
    parts = np.split(values, [509 * 100, 509 * 100 + 509 * 7])
    return {name: torch.from_numpy(part).reshape(1, -1) for name, part in zip("abc", parts)}


def sorted_digest(scores, current, count):
    """Digest of the mask that a stable sort of everything gives."""
    values = np.concatenate([scores[n].numpy().ravel() for n in current])
    keep = np.concatenate([current[n].numpy().ravel() for n in current])
    values = np.where(keep, values, -np.inf)
    stay = np.ones(values.size, bool)
    stay[np.argsort(values, kind="stable")[:count]] = False
    parts = np.split(stay, np.cumsum([current[n].numel() for n in current])[:-1])
    entries = zip(current, parts)
    return Mask({n: torch.from_numpy(p).reshape(current[n].shape) for n, p in entries}).digest()


PATTERNS = (
    "distinct", "few values", "constant", "mostly zero", "half precision", "sample too high",
    "sample too low", "sample constant", "sorted", "reversed",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_large_selections_equal_a_stable_sort(pattern):
    scores = large(pattern)
    current = Mask.full({name: tuple(part.shape) for name, part in scores.items()})
    for sparsity in (0.00001, 0.3, 0.5, 0.9, 0.98, 0.99999):
        mask = select(scores, current, sparsity, "global")
        count = count_to_prune(sparsity, 300_000)
        assert mask.pruned == count
        assert mask.digest() == sorted_digest(scores, current, count)
        current = mask  # the next one goes on from here


@pytest.mark.parametrize("pattern", PATTERNS)
def test_large_matrices_equal_a_stable_sort_each(pattern):
    scores = large(pattern, size=120_000)
    full = Mask.full({name: tuple(part.shape) for name, part in scores.items()})
    mask = select(scores, full, 0.85)
    for name in scores:
        one = Mask({name: full[name]})
        expected = sorted_digest(scores, one, count_to_prune(0.85, one.prunable))
        assert Mask({name: mask[name]}).digest() == expected


class Counted(Mapping):
    """Scores that count how often they are looked at."""

    def __init__(self, scores):
        self.scores, self.looks = scores, 0

    def __getitem__(self, name):
        self.looks += 1
        return self.scores[name]

    def __iter__(self):
        return iter(self.scores)

    def __len__(self):
        return len(self.scores)


@pytest.mark.parametrize(
    "pattern, looks",
    [("distinct", 3), ("sample too high", 5), ("sample too low", 5), ("constant", 4)],
)
def test_a_sample_that_misleads_costs_looks_and_no_exactness(pattern, looks):
    """Sample, bracket, mask: three looks at a matrix; a miss or a tie costs further ones."""
    scores = Counted({"w": torch.cat(list(large(pattern).values()), dim=1)})
    full = Mask.full({"w": (1, 300_000)})
    mask = select(scores, full, 0.5)
    assert mask.digest() == sorted_digest(scores.scores, full, 150_000)
    assert scores.looks >= looks


def test_a_minimum_density_keeps_the_best_of_each_matrix():
    scores = {"a": torch.arange(10.0).reshape(1, -1), "b": 100 + torch.arange(10.0).reshape(1, -1)}
    full = Mask.full({"a": (1, 10), "b": (1, 10)})
    bare = select(scores, full, 0.5, "global")
    assert [bare.pruned_in(n) for n in "ab"] == [10, 0]
    mask = select(scores, full, 0.5, "global", min_density=0.25)
    assert [mask.pruned_in(n) for n in "ab"] == [7, 3]
    assert mask["a"].tolist() == [[False] * 7 + [True] * 3]
    assert mask["b"].tolist() == [[False] * 3 + [True] * 7]
    # a matrix that is below the minimum already stays as it is
    below = Mask({"a": torch.arange(10).reshape(1, -1) > 8, "b": full["b"]})
    mask = select(scores, below, 0.6, "global", min_density=0.25)
    assert [mask.pruned_in(n) for n in "ab"] == [9, 3]


def test_a_minimum_density_that_leaves_too_little_to_prune_is_refused():
    scores = {"a": torch.arange(10.0).reshape(1, -1)}
    sentence = "density 0.25 .* 7 weights, .* requires 8"
    with pytest.raises(LotteryError, match=sentence):
        select(scores, Mask.full({"a": (1, 10)}), 0.8, "global", min_density=0.25)


LAYOUTS = {
    "transposed": lambda scores: scores.t().contiguous().t(),
    "every other column": lambda scores: scores.repeat_interleave(2, 1)[:, ::2],
    "expanded": lambda scores: scores[:, :1].expand(scores.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(
    "scope, min_density", [("layer", 0), ("global", 0), ("global", 0.2), ("2:4", 0)]
)
def test_what_counts_is_the_values_not_how_they_lie_in_memory(layout, scope, min_density):
    generator = torch.Generator().manual_seed(1)
    scores = {n: layout(torch.randn(6, 8, generator=generator)) for n in ("a", "b")}
    assert not any(tensor.is_contiguous() for tensor in scores.values())
    full = Mask.full({"a": (6, 8), "b": (6, 8)}, {"b": 1})
    mask = select(scores, full, 0.5, scope, min_density)
    plain = {name: tensor.contiguous() for name, tensor in scores.items()}
    assert mask == select(plain, full, 0.5, scope, min_density)
    assert all(keep.is_contiguous() for keep in mask.values())


@pytest.mark.parametrize("scope", ["layer", "global", "2:4"])
def test_nor_how_a_mask_lies_in_memory(scope):
    generator = torch.Generator().manual_seed(1)
    scores = {"w": torch.randn(6, 8, generator=generator)}
    keep = (torch.randn(8, 6, generator=generator) > -1).t()
    assert not keep.is_contiguous()
    sparsity = 0.5 if scope == "2:4" else 0.7
    mask = select(scores, Mask({"w": keep}), sparsity, scope)
    assert mask == select(scores, Mask({"w": keep.contiguous()}), sparsity, scope)


def test_weights_of_four_dimensions_in_channels_last():
    weight = torch.randn(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))
    full = Mask.full({"w": weight.shape})
    scores = {"w": weight.to(memory_format=torch.channels_last)}
    mask = select(scores, full, 0.7)
    assert mask == select({"w": weight}, full, 0.7) and mask.pruned == 84


PRUNED = Mask({"w": torch.tensor([[True, False, True, True]])})
SCORES = {"w": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_what_is_pruned_never_grows_back(scope):
    assert select(SCORES, PRUNED, 0.25, scope) == PRUNED
    assert select(SCORES, PRUNED, 0.5, scope)["w"].tolist() == [[False, False, True, True]]
    with pytest.raises(LotteryError, match="1 weights of .* exceeds the 0 of sparsity"):
        select(SCORES, PRUNED, 0.1, scope)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"sparsity": 1.0}, r"--sparsity 1 is outside \[0, 1\)"),
        ({"sparsity": -0.1}, r"--sparsity -0.1 is outside"),
        ({"sparsity": math.nan}, r"--sparsity nan is outside"),
        ({"scope": "column"}, "there is no scope 'column'; choose one of layer, global"),
        ({"min_density": 0.1}, "the minimum density 0.1 requires scope global, not layer"),
        ({"scope": "global", "min_density": 1.1}, "the minimum density 1.1 is outside .0, 1."),
        ({"scope": "global", "min_density": math.nan}, "the minimum density nan is outside"),
        ({"scores": {}}, "there are no scores for w"),
        ({"scores": {"w": torch.ones(4)}}, r"the scores of w have shape \(4,\), expected \(1, 4\)"),
        ({"scores": {"w": torch.tensor([[1, 2, math.nan, 4]])}}, "of w are not all finite"),
        ({"scores": {"w": torch.tensor([[1, 2, 3, math.inf]])}}, "of w are not all finite"),
        ({"scores": {"w": torch.tensor([[1, 2, 3, 4j]])}}, "of w are complex numbers, which have"),
        ({"scores": {"w": torch.tensor([[-math.inf, 2, 3, 4]])}}, "of w are not all finite"),
        ({"scores": {"w": torch.tensor([[1e39] * 4]).double() * 10}}, "of w are not all finite"),
    ],
)
def test_bad_input_is_refused(changes, sentence):
    given = {"scores": SCORES, "current": PRUNED, "sparsity": 0.5, **changes}
    with pytest.raises(LotteryError, match=sentence):
        select(**given)


def test_scores_whose_sum_overflows_are_finite_all_the_same():
    scores = {"w": torch.tensor([[3e38, 2e38, 3e38, 1e38]])}
    assert select(scores, PRUNED, 0.5)["w"].tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_score_that_is_random_without_a_seed_is_refused(scope):
    def unseeded(given):
        return torch.rand(given.trained.shape)

    scores = score_all(unseeded, {"w": torch.zeros(1, 1000)})
    with pytest.raises(LotteryError, match="the scores of w change"):
        select(scores, Mask.full({"w": (1, 1000)}), 0.5, scope)


#: the same on torch 1.12 and on torch 2.13
GOLDEN = {
    ("layer", 0.0): "ce975cf42591df0e071179f51fadc8f27689f6f27f6d57e9f8547528a6bbd87c",
    ("global", 0.0): "ee41a6e1e5ac688f021d9e793a0d6d8e0adaade3660df712542b62aa7c1af115",
    ("global", 0.3): "4ca795643de3c3064978de2539d4a1092d2af3046d9888b93b4fab0ad500febd",
}


@pytest.mark.parametrize("scope, min_density", GOLDEN)
def test_masks_are_the_same_on_every_stack(scope, min_density):
    index = torch.arange(6000)
    hashed = (index * 7919 % 1009).float() / 1009  # 1009 values, each about six times
    scores = {"w": hashed[:2000].reshape(40, 50), "embedding": (hashed[2000:] / 3).reshape(80, 50)}
    full = Mask.full({"w": (40, 50), "embedding": (80, 50)}, {"embedding": 1})
    mask = select(scores, full, 0.6, scope, min_density)
    assert mask.digest() == GOLDEN[scope, min_density]
