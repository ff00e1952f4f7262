import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, densest, nm_selection, score_all, select

PATTERNS = ((1, 2), (2, 4), (1, 4), (3, 4), (4, 8), (2, 3))


def by_hand(scores, keep, row, n, m):
    """The rule, group by group and weight by weight: which of a matrix's weights stay."""
    found = []
    for number, (values, kept) in enumerate(zip(scores.tolist(), keep.tolist())):
        stays = [True] * len(values)
        for start in range(0, len(values), m) if number != row else ():
            ranked = sorted(
                (values[i] if kept[i] else -math.inf, i) for i in range(start, start + m)
            )
            for _, i in ranked[: m - n]:
                stays[i] = False
        found.append(stays)
    return found


@st.composite
def cases(draw):
    """A pattern, scores with ties of up to three matrices, and a mask that can be shrunk to it."""
    n, m = draw(st.sampled_from(PATTERNS))
    score = draw(st.sampled_from([st.integers(-2, 2).map(float), st.floats(-1e3, 1e3, width=32)]))
    scores, keep, protected = {}, {}, {}
    for name in draw(st.sampled_from([("w",), ("b", "a", "c")])):
        rows, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        size = rows * groups * m
        values = draw(st.lists(score, min_size=size, max_size=size))
        scores[name] = torch.tensor(values).reshape(rows, groups * m)
        gone = draw(st.lists(st.integers(0, m - n), min_size=rows * groups, max_size=rows * groups))
        bits = [draw(st.permutations([False] * count + [True] * (m - count))) for count in gone]
        keep[name] = torch.tensor(bits).reshape(rows, groups * m)
        if draw(st.booleans()):
            protected[name] = draw(st.integers(0, rows - 1))
            keep[name][protected[name]] = True
    return scores, Mask(keep, protected), n, m


@PROPERTY
@given(cases())
def test_a_selection_equals_the_rule_by_hand(case):
    scores, current, n, m = case
    mask = select(scores, current, 1 - n / m, f"{n}:{m}")
    for name, keep in mask.items():
        row = current.protected.get(name)
        assert keep.tolist() == by_hand(scores[name], current[name], row, n, m)
    assert mask.protected == current.protected


@PROPERTY
@given(cases())
def test_every_group_keeps_n_and_they_are_the_highest(case):
    scores, current, n, m = case
    mask = select(scores, current, 1 - n / m, f"{n}:{m}")
    for name, keep in mask.items():
        row = current.protected.get(name)
        others = [i for i in range(len(keep)) if i != row]
        groups = keep[others].reshape(-1, m)
        assert (groups.sum(1) == n).all()
        values = torch.where(current[name], scores[name], torch.tensor(-math.inf))
        values = values[others].reshape(-1, m)
        lowest_kept = values.masked_fill(~groups, math.inf).amin(1)
        highest_pruned = values.masked_fill(groups, -math.inf).amax(1)
        assert (lowest_kept >= highest_pruned).all()
        assert mask.pruned_in(name) * m == mask.size(name) * (m - n)
        assert row is None or keep[row].all()
    assert mask.is_subset_of(current)
    assert select(scores, mask, 1 - n / m, f"{n}:{m}") == mask, "nothing is left to prune"


def test_among_equals_the_first_is_pruned_first():
    scores = {"w": torch.tensor([[1.0, 1, 1, 1, 0, -0.0, 0, -0.0, 2, 1, 1, 0]])}
    mask = select(scores, Mask.full({"w": (1, 12)}), 0.5, "2:4")
    assert mask["w"].int().tolist() == [[0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0]]


def test_groups_lie_along_the_inputs():
    """A column keeps all or nothing where its weights are the highest, or lowest, of their rows."""
    scores = {"w": torch.tensor([[4.0, 3, 2, 1]] * 8)}
    mask = select(scores, Mask.full({"w": (8, 4)}), 0.5, "2:4")
    assert mask["w"].tolist() == [[True, True, False, False]] * 8


def test_a_matrix_of_many_chunks_is_that_of_one(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    scores = {"w": torch.randint(0, 9, (60, 48), generator=generator).float()}
    full = Mask.full({"w": (60, 48)}, {"w": 1})
    whole = [select(scores, full, 1 - n / m, f"{n}:{m}") for n, m in PATTERNS]
    for chunk in (1, 7, 50, 1000):
        monkeypatch.setattr(nm_selection, "_CHUNK", chunk)
        assert [select(scores, full, 1 - n / m, f"{n}:{m}") for n, m in PATTERNS] == whole


#: the same on torch 1.12 and on torch 2.13
GOLDEN = {
    "2:4": "3b9a200ea5253c6509bb54e0b14fa2738012938dbd3284c5fc346826566ba942",
    "1:8": "3b851e05948a08a59ab851a61895600430502fa9f8947bd5f1dc2e0febbb5f54",
}


@pytest.mark.parametrize("scope", GOLDEN)
def test_masks_are_the_same_on_every_stack(scope):
    index = torch.arange(6400)
    hashed = (index * 7919 % 1009).float() / 1009
    scores = {"w": hashed[:2560].reshape(40, 64), "embedding": (hashed[2560:] / 3).reshape(80, 48)}
    full = Mask.full({"w": (40, 64), "embedding": (80, 48)}, {"embedding": 1})
    sparsity = {"2:4": 0.5, "1:8": 0.875}[scope]
    mask = select(scores, full, sparsity, scope)
    assert (mask.pruned_in("w"), mask.pruned_in("embedding")) == (
        2560 * sparsity, 79 * 48 * sparsity
    )  # fmt: skip
    assert mask.digest() == GOLDEN[scope]


def test_the_densest_group_tells_the_pattern():
    keep = torch.tensor([[1, 1, 0, 0, 0, 0, 1, 0], [0, 1, 0, 1, 0, 0, 0, 0]]).bool()
    assert [densest(keep, group) for group in (2, 4, 8)] == [2, 2, 3]
    assert densest(~keep, 4) == 4
    assert densest(keep, 3) is None and densest(keep, 16) is None
    assert densest(torch.tensor(True), 4) is None


SCORES = {"w": torch.arange(8.0).reshape(1, 8)}
FULL = Mask.full({"w": (1, 8)})
PRUNED = Mask({"w": torch.tensor([[False, False, False, True, True, True, True, True]])})


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"sparsity": 0.6}, "--scope 2:4 prunes 2 of every 4 .* 0.5, not 0.6"),
        ({"scope": "4:2"}, "there is no scope '4:2'; choose one of layer, global"),
        ({"scope": "4:4"}, "there is no scope '4:4'"),
        ({"scope": "0:4"}, "there is no scope '0:4'"),
        ({"min_density": 0.1}, "the minimum density 0.1 requires scope global, not 2:4"),
        (
            {"scope": "1:3", "sparsity": 2 / 3},
            "--scope 1:3 requires .* 3 weights, those of w have 8",
        ),
        (
            {"current": PRUNED},
            "w has 3 of 4 consecutive weights pruned already, but --scope 2:4 prunes 2",
        ),
        ({"scores": {}}, "there are no scores for w"),
        ({"scores": {"w": torch.ones(8)}}, r"the scores of w have shape \(8,\), expected \(1, 8\)"),
        ({"scores": {"w": torch.full((1, 8), math.nan)}}, "of w are not all finite"),
    ],
)
def test_bad_input_is_refused(changes, sentence):
    given = {"scores": SCORES, "current": FULL, "sparsity": 0.5, "scope": "2:4", **changes}
    with pytest.raises(LotteryError, match=sentence):
        select(**given)


def test_what_is_pruned_more_than_elsewhere_may_be_pruned_on():
    assert select(SCORES, PRUNED, 0.75, "1:4")["w"].int().tolist() == [[0, 0, 0, 1, 0, 0, 0, 1]]


def integers(rows, width, dtype):
    """Weights that are small whole numbers, of which a product has no rounding; many are equal."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(-3, 4, (rows, width), generator=generator).to(dtype)


def drawn(weight, scope):
    """A weight under the mask that its magnitudes give."""
    full = Mask.full({"w": tuple(weight.shape)})
    scores = score_all(lambda given: given.trained.abs(), {"w": weight.float()})
    mask = select(scores, full, 0.5, scope)
    return weight * mask["w"].to(weight.device)


@pytest.mark.parametrize(
    "dtype, scope", [(torch.float16, "2:4"), (torch.bfloat16, "2:4"), (torch.float32, "1:2")]
)
def test_torch_packs_the_pattern_and_nothing_is_lost(dtype, scope):
    """Torch drops what is too much in a group, so only a mask with the pattern comes back whole."""
    conversions = pytest.importorskip("torch.sparse._semi_structured_conversions")
    weight = integers(64, 128, dtype)
    for sparse, comes_back in ((drawn(weight, scope), True), (drawn(weight, "layer"), False)):
        values, places = conversions.sparse_semi_structured_from_dense_cutlass(sparse)
        assert values.shape == (64, 64)
        dense = conversions.sparse_semi_structured_to_dense_cutlass(values, places)
        assert torch.equal(dense, sparse) is comes_back


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sparse_tensor_cores_give_the_dense_product(dtype):
    if not hasattr(torch.sparse, "to_sparse_semi_structured"):
        pytest.skip("this torch has no torch.sparse.to_sparse_semi_structured")
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs a GPU with sparse tensor cores, of compute capability 8.0")
    weight = drawn(integers(64, 128, dtype), "2:4").cuda()
    inputs = integers(32, 128, dtype).clamp(-1, 1).cuda()
    sparse = torch.sparse.to_sparse_semi_structured(weight)
    product = torch.nn.functional.linear(inputs, sparse)
    # whole numbers of at most 64 * 3 in magnitude: both types hold every partial sum
    assert torch.equal(product, torch.nn.functional.linear(inputs, weight))
    assert product.abs().max() > 0
