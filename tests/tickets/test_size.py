import math
import re

import pytest
import torch

from fairseq_lottery.masks import Mask
from fairseq_lottery.tickets.size import (
    advice,
    line,
    negative_zeros,
    rounded,
    sizes,
    without_negative_zeros,
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 777)
    return path


def test_a_quarter_of_a_matrix_and_a_bias(file):
    mask = Mask({"w": torch.arange(400).reshape(20, 20) % 4 == 0})
    weights = {"w": torch.randn(20, 20) * mask["w"], "bias": torch.ones(20)}
    entropy = 400 * -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)) / 8
    assert sizes(file, weights, mask) == {
        "bytes": 777,
        "bound_bytes": math.ceil(entropy + 100 * 4 + 20 * 4),
        "dense_bytes": 420 * 4,
        "csr_bytes": 100 * 8 + 21 * 4 + 20 * 4,
        "number_bytes": 4,
    }


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stored", [False, True])
def test_numbers_of_half_precision_have_two_bytes(file, kind, stored):
    """As they are stored, and rounded to it in fp32."""
    mask = Mask({"w": torch.arange(400).reshape(20, 20) % 4 == 0})
    weights = {"w": torch.randn(20, 20) * mask["w"], "bias": torch.randn(20)}
    short = {name: tensor.to(kind) for name, tensor in weights.items()}
    found = sizes(file, short if stored else {n: t.float() for n, t in short.items()}, mask)
    entropy = 400 * -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)) / 8
    assert found == {
        "bytes": 777,
        "bound_bytes": math.ceil(entropy + 100 * 2 + 20 * 2),
        "dense_bytes": 420 * 2,
        "csr_bytes": 100 * 6 + 21 * 4 + 20 * 2,
        "number_bytes": 2,
    }
    weights["w"] = short["w"].float()
    assert sizes(file, weights, mask)["number_bytes"] == 4


def test_negative_zeros_are_counted_where_no_mask_prunes_and_lose_their_sign():
    weights = {"w": torch.tensor([[-0.0, 0.0, -1.0], [-0.0, -0.0, 1.0]]), "b": torch.tensor([-0.0])}
    assert negative_zeros(weights, None) == 3
    mask = Mask({"w": torch.tensor([[True, True, True], [False, True, True]])})
    assert negative_zeros(weights, mask) == 2
    assert re.match("2 weights are -0.0, .* --round zeros", advice({"negative_zeros": 2}))
    assert advice({"negative_zeros": 0}) is None
    for kind in (torch.float32, torch.float16):
        found = without_negative_zeros(weights["w"].to(kind))
        assert found.dtype == kind and torch.equal(found, weights["w"].to(kind))
        assert torch.signbit(found).tolist() == [[False, False, True], [False] * 3]
    assert torch.equal(without_negative_zeros(torch.tensor([0, 5])), torch.tensor([0, 5]))


def test_one_magnitude_is_one_bit_a_value(file):
    mask = Mask({"w": torch.arange(400).reshape(20, 20) % 2 == 0})
    weights = {"w": torch.randn(20, 20).sign() * 0.3 * mask["w"]}
    assert sizes(file, weights, mask)["bound_bytes"] == 400 // 8 + math.ceil(200 / 8) + 4


@pytest.mark.parametrize("keep", [0, 1])
def test_empty_and_full_masks_say_nothing(file, keep):
    mask = Mask({"w": torch.full((5, 4), bool(keep))})
    weights = {"w": torch.randn(5, 4) * keep}
    assert sizes(file, weights, mask)["bound_bytes"] == 20 * 4 * keep


def test_the_line():
    found = {"bytes": 2_000_000, "bound_bytes": 2_500_000, "dense_bytes": 8_000_000,
             "csr_bytes": 4_000_000, "number_bytes": 4}  # fmt: skip
    assert line(found) == (
        "size 2.00 MB, 0.800 of the bound 2.50 MB; dense 8.00 MB, CSR 4.00 MB; the bound is for the"
        " masks' entropy and 32 bits a survivor, 1 bit where only signs differ"
    )


@pytest.mark.parametrize(("dtype", "zeros"), [(torch.float16, 13), (torch.bfloat16, 16)])
def test_rounded_values_end_in_zeros(dtype, zeros):
    tensors = {"values/w": torch.randn(1000), "mask/w": torch.arange(9, dtype=torch.uint8)}
    found = rounded(tensors, dtype)
    assert torch.equal(found["mask/w"], tensors["mask/w"])
    assert found["values/w"].dtype == torch.float32
    assert not (found["values/w"].view(torch.int32) & ((1 << zeros) - 1)).any()
    assert torch.equal(found["values/w"], tensors["values/w"].to(dtype).float())
