"""A model that is filled matrix by matrix has the bits of one that was dense before."""

import copy

import numpy as np
import pytest
import torch
from engines import always, built, engines
from fairseq.models.transformer import TransformerModel
from fairseq.sequence_generator import SequenceGenerator
from random_transformers import Task, batches, settings_of, transformer
from scipy.sparse import csr_matrix
from torch import nn

from fairseq_lottery.formats import trainable
from fairseq_lottery.sparse import pack, sparse_matrix, sparsify
from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.model_filling import fill, without_weights
from fairseq_lottery.sparse.sparse_matrix import (
    KernelMatrix,
    PanelMatrix,
    SparseMatrix,
    Survivors,
)

CHANGES = {
    "tied": {},
    "apart": {"share_all_embeddings": False},
    "learned positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
}


def empty_copy(**changes):
    """A model of the same architecture without weights, built by fairseq's own code."""
    with without_weights():
        return TransformerModel.build_model(settings_of(**changes), Task).eval()


def stored(model):
    """Name -> survivors, as a file has them; every third value of a matrix is a kept zero."""
    found = {}
    for name, parameter in trainable(model).items():
        weight = parameter.detach().clone()
        if weight.dim() < 2:
            found[name] = Survivors(None, weight)
            continue
        kept = weight != 0
        kept.view(-1)[::3] = True
        found[name] = Survivors(kept, weight[kept])
    return found


def tensors(model):
    return dict(model.named_parameters()) | dict(model.named_buffers())


@engines
@pytest.mark.parametrize("ratio", [2.0, 0.5], ids=["sparse", "dense"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_equal_to_a_model_that_was_dense(engine, ratio, changes):
    before = transformer(0.2, **changes)
    expected = copy.deepcopy(before)
    sparsify(expected, 5, engine, always(ratio))
    if native() is not None:
        pack(expected)
    model, content = empty_copy(**changes), stored(before)
    fill(model, trainable(model), content.pop, 5, engine, always(ratio))
    assert content == {}, "each is read once"
    found, wanted = tensors(model), tensors(expected)
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name
    assert [type(m) for m in model.modules()] == [type(m) for m in expected.modules()]
    for lines, lengths in batches(20, 20):
        sample = {"net_input": {"src_tokens": lines, "src_lengths": lengths}}
        ours, theirs = (
            SequenceGenerator([one], Task.target_dictionary, max_len_b=12).generate([one], sample)
            for one in (model, expected)
        )
        for a, b in zip(ours, theirs):
            assert torch.equal(a[0]["tokens"], b[0]["tokens"])
            assert torch.equal(a[0]["positional_scores"], b[0]["positional_scores"])


@engines
def test_tied_matrices_are_one(engine):
    model, content = empty_copy(), stored(transformer(0.2))
    fill(model, trainable(model), content.pop, 5, engine, always())
    matrix = model.encoder.embed_tokens.matrix
    assert type(matrix) is engine
    assert matrix is model.decoder.embed_tokens.matrix is model.decoder.output_projection.matrix


@built
def test_negative_zeros_of_a_dense_matrix_are_kept():
    before = transformer(1.0)
    before.encoder.layers[0].fc1.weight.data[0, 0] = -0.0
    model = empty_copy()
    fill(model, trainable(model), stored(before).pop, 5)
    matrix = model.encoder.layers[0].fc1.matrix
    assert type(matrix) is PanelMatrix and torch.signbit(matrix.rows(torch.tensor(0))[0])


def test_without_weights_tables_are_computed_and_parameters_are_not():
    state = torch.get_rng_state()
    model = empty_copy()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.encoder.embed_tokens.weight is model.decoder.output_projection.weight
    table = getattr(model.encoder.embed_positions, "weights", None)
    if table is not None:
        assert torch.equal(table, transformer(0.2).encoder.embed_positions.weights)
    assert all(not buffer.is_meta for buffer in model.buffers())


def test_the_context_ends_after_an_error():
    register, normal = nn.Module.register_parameter, torch.Tensor.normal_
    with pytest.raises(ZeroDivisionError), without_weights():
        assert torch.zeros(100).normal_().std() > 0.5
        raise ZeroDivisionError
    assert nn.Module.register_parameter is register and torch.Tensor.normal_ is normal
    assert "normal_" not in vars(torch.Tensor)
    assert nn.Linear(2, 2).weight.abs().sum() > 0


@pytest.mark.parametrize("engine", [SparseMatrix, KernelMatrix])
@pytest.mark.parametrize("piece", [1, 70, 1 << 18])
@pytest.mark.parametrize("shape", [(5, 70), (1, 3), (7, 65_536), (4, 40_000)])
def test_compressed_rows_are_scipys(engine, piece, shape, monkeypatch):
    monkeypatch.setattr(sparse_matrix, "_PIECE", piece)
    random = np.random.default_rng(1)
    weight = random.normal(size=shape).astype(np.float32) * (random.random(shape) < 0.2)
    weight[0] = 0
    kept = torch.from_numpy((weight != 0) | (random.random(shape) < 0.1))
    expected = csr_matrix(weight)
    tensor = torch.from_numpy(weight)
    for form in (tensor, Survivors(kept, tensor[kept])):
        matrix = engine(form)
        assert np.array_equal(matrix.starts.numpy(), expected.indptr)
        assert np.array_equal(matrix.columns.numpy().view(f"u{matrix.columns.element_size()}"),
                              expected.indices)  # fmt: skip
        assert np.array_equal(matrix.values.numpy(), expected.data)
        assert torch.equal(matrix.dense(), tensor)
