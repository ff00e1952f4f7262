from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, overlap


def kept(*rows):
    """A bool matrix from rows such as "101"."""
    return torch.tensor([[entry == "1" for entry in row] for row in rows])


def flat(bits):
    return Mask({"w": torch.tensor(bits, dtype=torch.bool).reshape(1, -1)})


#: an embedding of 4 words whose padding row is protected, and a 2 x 2 matrix
MASK = Mask(
    {"w": kept("10", "01"), "embedding": kept("011", "111", "000", "101")}, {"embedding": 1}
)


@pytest.mark.parametrize(
    "entries, protected, sentence",
    [
        ({}, None, "at least one matrix"),
        ({"": kept("1")}, None, "'' in the mask"),
        ({3: kept("1")}, None, "3 in the mask"),
        ({"w": torch.ones(2, 2)}, None, "the mask of w must be a bool tensor"),
        ({"w": torch.ones(2, 2, dtype=torch.uint8)}, None, "must be a bool tensor"),
        ({"w": [[True]]}, None, "must be a bool tensor"),
        ({"w": torch.ones(0, 3, dtype=torch.bool)}, None, "the mask of w is empty"),
        ({"w": kept("1")}, {"v": 0}, "the mask has no v"),
        ({"w": kept("11", "11")}, {"w": 2}, "row 2 of w is out of range .0 to 1"),
        ({"w": kept("11", "11")}, {"w": -1}, "row -1 of w is out of range .0 to 1"),
        ({"w": kept("11", "10")}, {"w": 1}, "row 1 of w is protected, but the mask prunes it"),
    ],
)
def test_malformed_masks_are_refused(entries, protected, sentence):
    with pytest.raises(LotteryError, match=sentence):
        Mask(entries, protected)


def test_counts_leave_the_protected_row_out():
    assert list(MASK) == ["embedding", "w"]
    assert [MASK.size(name) for name in MASK] == [9, 4]
    assert [MASK.pruned_in(name) for name in MASK] == [5, 2]
    assert [MASK.sparsity_of(name) for name in MASK] == [5 / 9, 2 / 4]
    assert (MASK.pruned, MASK.prunable, MASK.sparsity) == (7, 13, 7 / 13)


def test_a_full_mask_keeps_everything():
    full = Mask.full({"w": (2, 2), "embedding": (4, 3)}, {"embedding": 1})
    assert (full.pruned, full.prunable, full.sparsity) == (0, 13, 0.0)
    assert all(bool(keep.all()) for keep in full.values())
    # a matrix that has nothing but its padding row
    only = Mask.full({"embedding": (1, 3)}, {"embedding": 0})
    assert (only.prunable, only.sparsity, only.sparsity_of("embedding")) == (0, 0.0, 0.0)


def test_a_model_of_other_matrices_is_refused():
    MASK.check({"embedding": (4, 3), "w": [2, 2], "bias": (2,)})
    with pytest.raises(LotteryError, match="the mask prunes w, which the model does not have"):
        MASK.check({"embedding": (4, 3)})
    with pytest.raises(LotteryError, match=r"the mask of w has shape \(2, 2\), expected \(4"):
        MASK.check({"embedding": (4, 3), "w": (4, 1)})


def test_intersection_keeps_what_both_keep():
    other = Mask(
        {"w": kept("11", "00"), "embedding": kept("110", "111", "111", "100")}, MASK.protected
    )
    both = MASK.intersection(other)
    assert both["w"].tolist() == [[True, False], [False, False]]
    assert both["embedding"].tolist() == kept("010", "111", "000", "100").tolist()
    assert both.protected == {"embedding": 1} and both.pruned == 7 + 3


@pytest.mark.parametrize(
    "shapes, row, name",
    [
        ({"w": (2, 2)}, None, "embedding"),
        ({"w": (2, 2), "embedding": (3, 4)}, 1, "embedding"),
        ({"w": (2, 2), "embedding": (4, 3)}, 2, "embedding"),
        ({"w": (2, 2), "embedding": (4, 3), "v": (1, 1)}, 1, "v"),
    ],
)
def test_masks_of_different_prunable_sets_are_not_mixed(shapes, row, name):
    other = Mask.full(shapes, {"embedding": row} if row else None)
    for a, b in ((MASK, other), (other, MASK)):
        for mix in (Mask.intersection, overlap):
            with pytest.raises(LotteryError, match=f"different prunable sets, .* in {name}"):
                mix(a, b)


def test_a_subset_counts_what_a_mask_does_not_name_as_kept():
    fewer, more = flat([1, 0, 0]), flat([1, 1, 0])
    assert fewer.is_subset_of(more) and fewer.is_subset_of(fewer)
    assert not more.is_subset_of(fewer)
    other = Mask({"v": kept("10")})
    assert not fewer.is_subset_of(other), "v is pruned there and kept here"
    assert fewer.is_subset_of(Mask.full({"v": (1, 2)}))
    assert Mask({**fewer, **other}).is_subset_of(fewer)


bits = st.lists(st.booleans(), min_size=1, max_size=40)


@PROPERTY
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_overlap_equals_sets_counted_by_hand(pairs):
    a, b = ({i for i, pair in enumerate(pairs) if pair[side]} for side in (0, 1))
    found, chance = overlap(*(flat([pair[side] for pair in pairs]) for side in (0, 1)))["w"]
    assert found == (len(a & b) / len(a | b) if a | b else 0.0)
    # the mean of |A & B| over every placement of A's and B's weights
    expected = len(a) * len(b) / len(pairs)
    either = len(a) + len(b) - expected
    assert chance == pytest.approx(expected / either if either else 0.0)


@pytest.mark.parametrize("size, a, b", [(5, 2, 3), (6, 3, 3), (6, 1, 5), (4, 0, 2)])
def test_chance_is_the_mean_over_all_placements(size, a, b):
    mean = np.mean([len(set(x) & set(range(b))) for x in combinations(range(size), a)])
    masks = (flat([i < count for i in range(size)]) for count in (a, b))
    assert overlap(*masks)["w"][1] == pytest.approx(mean / (a + b - mean))


def test_overlap_in_all_sums_the_matrices_and_leaves_the_padding_row_out():
    one = Mask({"e": kept("11", "11", "10"), "w": kept("1100")}, {"e": 0})
    two = Mask({"e": kept("11", "10", "11"), "w": kept("0110")}, {"e": 0})
    rows = overlap(one, two)
    assert rows["e"] == (2 / 4, (9 / 4) / (6 - 9 / 4))
    assert rows["w"] == (1 / 3, 1 / 3)
    assert rows[""] == (3 / 7, (9 / 4 + 1) / (10 - 9 / 4 - 1))
    assert overlap(one, one)[""][0] == 1.0


def test_digest_is_fixed():
    assert MASK.digest() == "f98e6a955bf28ced94a9d8ac1d1d8dd50108c599d9afb0d860c3dde054beef96"


@pytest.mark.parametrize(
    "other",
    [
        Mask({**MASK, "w": kept("10", "11")}, MASK.protected),
        Mask({**MASK, "w": kept("1001")}, MASK.protected),
        Mask({"v": MASK["w"], "embedding": MASK["embedding"]}, MASK.protected),
        Mask(dict(MASK)),
        Mask({"embedding": MASK["embedding"]}, MASK.protected),
    ],
    ids=["a bit", "a shape", "a name", "a protected row", "a matrix"],
)
def test_digest_and_equality_see(other):
    assert other.digest() != MASK.digest()
    assert other != MASK


def test_digest_and_equality_do_not_see_order_or_memory():
    again = {name: MASK[name].t().contiguous().t() for name in reversed(list(MASK))}
    assert not again["w"].is_contiguous()
    assert Mask(again, MASK.protected).digest() == MASK.digest()
    assert Mask(again, MASK.protected) == MASK
    assert MASK != {"w": MASK["w"]}


@PROPERTY
@given(bits)
def test_every_bit_counts_in_the_digest(values):
    digests = {flat(values).digest()}
    for i in range(len(values)):
        digests.add(flat([*values[:i], not values[i], *values[i + 1 :]]).digest())
    assert len(digests) == len(values) + 1


def test_eight_weights_are_a_byte_the_first_one_lowest():
    packed = flat([1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0]).pack()["w"]
    assert packed.dtype == np.uint8 and packed.tolist() == [0b10000001, 0b011]


@pytest.mark.parametrize("size", range(1, 18))
@pytest.mark.parametrize("seed", [0, 1])
def test_packing_and_back(size, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = flat(torch.rand(size, generator=generator).lt(0.5).tolist())
    packed = mask.pack()
    assert packed["w"].size == (size + 7) // 8
    assert Mask.unpack(packed, {"w": (1, size)}) == mask


def test_packing_keeps_the_protected_rows():
    shapes = {name: tuple(keep.shape) for name, keep in MASK.items()}
    again = Mask.unpack(MASK.pack(), shapes, MASK.protected)
    assert again == MASK and again.protected == {"embedding": 1} and again.pruned == 7


@pytest.mark.parametrize("size", [3, 7, 9, 15])
def test_bits_beyond_the_last_weight_are_refused(size):
    packed = flat([1] * size).pack()["w"]
    for bit in range(size % 8, 8):
        stray = packed.copy()
        stray[-1] |= 1 << bit
        with pytest.raises(LotteryError, match="bits beyond its last weight"):
            Mask.unpack({"w": stray}, {"w": (size,)})


@pytest.mark.parametrize(
    "bits, shape, sentence",
    [
        (np.zeros(1, np.uint8), (3, 3), "does not fit 9 weights"),
        (np.zeros(3, np.uint8), (3, 3), "does not fit 9 weights"),
        (np.zeros(2, np.int64), (3, 3), "does not fit 9 weights"),
        (np.zeros((1, 2), np.uint8), (3, 3), "does not fit 9 weights"),
        (np.zeros(0, np.uint8), (0, 3), "is empty"),
    ],
)
def test_packed_bits_that_do_not_fit_are_refused(bits, shape, sentence):
    with pytest.raises(LotteryError, match=sentence):
        Mask.unpack({"w": bits}, {"w": shape})
    with pytest.raises(LotteryError, match="the mask of w has no shape"):
        Mask.unpack({"w": bits}, {})


@pytest.mark.parametrize(
    "shape", [(2**40, 2**40), (2**70,), (-2, -4), (2.0, 4), ("2", "4"), (True, 8), (0, 8), "24"]
)
def test_shapes_out_of_a_file_are_whole_numbers(shape):
    bits = np.array([255], dtype=np.uint8)
    assert Mask.unpack({"w": bits}, {"w": (2, 4)})["w"].shape == (2, 4)
    with pytest.raises(LotteryError, match="the mask of w has the invalid shape|does not fit"):
        Mask.unpack({"w": bits}, {"w": shape})
    with pytest.raises(LotteryError, match="the mask has a shape but no bits of v"):
        Mask.unpack({"w": bits}, {"w": (2, 4), "v": (2, 4)})


@pytest.mark.parametrize("row", [True, 1.0, "1", None, [1]])
def test_a_protected_row_is_a_number(row):
    """To torch, row True is all rows."""
    with pytest.raises(LotteryError, match="the protected row of w is .*, expected"):
        Mask({"w": torch.ones(2, 4, dtype=torch.bool)}, {"w": row})
