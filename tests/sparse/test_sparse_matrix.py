"""Both products against torch's dense ones, bits where bits are promised."""

import pytest
import torch
import torch.nn.functional as F
from engines import built
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.sparse.sparse_matrix import KernelMatrix, PanelMatrix, SparseMatrix

#: all forms of a matrix
forms = pytest.mark.parametrize(
    "engine",
    [SparseMatrix, *(pytest.param(one, marks=built) for one in (KernelMatrix, PanelMatrix))],
)


def pruned(outputs, inputs, density, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator)
    return weight * (torch.rand(outputs, inputs, generator=generator) < density)


def assert_product(engine, weight, x, bias=None):
    found = engine(weight).linear(x, bias)
    expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert found.shape == expected.shape and found.is_contiguous()
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5)


@forms
@PROPERTY
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 140), st.floats(0, 1), st.booleans())
def test_products_are_those_of_the_dense_matrix(engine, outputs, inputs, rows, density, biased):
    weight = pruned(outputs, inputs, density)
    bias = torch.arange(outputs, dtype=torch.float32) if biased else None
    assert_product(engine, weight, torch.randn(rows, inputs), bias)


@forms
@pytest.mark.parametrize("rows", [1, 2, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 200])
def test_every_size_of_tile(engine, rows):
    assert_product(engine, pruned(33, 48, 0.3), torch.randn(rows, 48), torch.randn(33))


@forms
def test_empty_and_full_rows_and_columns(engine):
    weight = pruned(20, 24, 0.4)
    weight[3] = weight[19] = 0
    weight[:, 5] = weight[:, 23] = 0
    weight[7] = 1
    assert_product(engine, weight, torch.randn(6, 24), torch.randn(20))
    assert_product(engine, torch.zeros(20, 24), torch.randn(6, 24), torch.randn(20))
    assert_product(engine, torch.ones(20, 24), torch.randn(6, 24))


@forms
def test_any_leading_dimensions_and_strides(engine):
    weight = pruned(7, 9, 0.5)
    assert_product(engine, weight, torch.randn(3, 5, 9))
    assert_product(engine, weight, torch.randn(9))
    assert_product(engine, weight, torch.randn(9, 4).t())
    assert engine(weight).linear(torch.randn(0, 9), None).shape == (0, 7)


@forms
def test_columns_that_are_negative_as_signed_16_bit_numbers(engine):
    weight = torch.zeros(3, 65536)
    weight[0, 32768], weight[1, 65535], weight[2, 32767] = 1, 2, 3
    x = torch.randn(4, 65536)
    assert torch.equal(engine(weight).linear(x, None), x[:, [32768, 65535, 32767]] * weight.sum(1))
    assert torch.equal(engine(weight).rows(torch.tensor([1, 0])), weight[[1, 0]])


@forms
def test_looked_up_rows_are_those_of_the_matrix_to_the_bit(engine):
    weight = pruned(40, 16, 0.2)
    weight[1] = 0  # the padding row, and a row that stays dense
    weight[7] = 3
    index = torch.randint(0, 40, (5, 8))
    index[0, :3] = torch.tensor([1, 7, 39])
    assert torch.equal(engine(weight).rows(index), F.embedding(index, weight))
    assert engine(weight).rows(torch.zeros(0, 3, dtype=torch.long)).shape == (0, 3, 16)


@built
@pytest.mark.parametrize("form", [KernelMatrix, PanelMatrix])
def test_threads_do_not_change_a_bit(form):
    matrix, x = form(pruned(3000, 64, 0.5)), torch.randn(70, 64)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(matrix.linear(x, None))
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_memory_is_in_proportion_to_the_density():
    weight = torch.zeros(100, 64)
    weight.view(-1)[:640] = 1
    assert KernelMatrix(weight).bytes == 640 * (4 + 2) + 101 * 4
    assert SparseMatrix(weight).bytes == 640 * (4 + 4) + 101 * 4
    assert PanelMatrix(weight[:98]).bytes == 100 * 64 * 4
    assert list(KernelMatrix(weight).state_dict()) == []


@forms
@pytest.mark.parametrize("width", [4, 7, 9, 16])
def test_an_input_of_another_width_is_refused(engine, width):
    """As torch's own product does; beyond its end lies somebody else's memory."""
    with pytest.raises(RuntimeError, match="expected 8"):
        engine(pruned(3, 8, 0.5)).linear(torch.ones(2, width), None)


@forms
def test_rows_of_columns_beyond_half_of_16_bits(engine):
    weight = torch.zeros(2, 40_000)
    weight[1, [5, 32_767, 32_768, 39_999]] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert torch.equal(engine(weight).rows(torch.tensor([1, 0])), weight[[1, 0]])
