"""Whole models: the same translations, held in less."""

import copy

import pytest
import torch
from engines import always, built, engines
from fairseq.sequence_generator import SequenceGenerator
from random_transformers import DIM, FFN, WORDS, Task, batches, transformer
from torch import nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import is_parameter
from fairseq_lottery.sparse import pack, sparse_decoding, sparsify
from fairseq_lottery.sparse.matrix_choices import Choices
from fairseq_lottery.sparse.sparse_matrix import (
    KernelMatrix,
    PackedEmbedding,
    PackedLinear,
    PanelMatrix,
    SparseMatrix,
)

#: 2 x 6 in the encoder, 2 x 10 in the decoder, the shared embedding
MATRICES = 33


def translate(model, sentences, beam, lengths):
    generator = SequenceGenerator([model], Task.target_dictionary, beam_size=beam, max_len_b=12)
    sample = {"net_input": {"src_tokens": sentences, "src_lengths": lengths}}
    return [one[0] for one in generator.generate([model], sample)]


def assert_same_translations(dense, sparse, beam, count, size):
    """And they tell the sentences apart: a fifth of them at least have one of their own."""
    seen = set()
    for tokens, lengths in batches(count, size):
        for a, b in zip(
            translate(dense, tokens, beam, lengths), translate(sparse, tokens, beam, lengths)
        ):
            assert torch.equal(a["tokens"], b["tokens"])
            assert torch.allclose(a["positional_scores"], b["positional_scores"], atol=1e-4)
            seen.add(tuple(a["tokens"].tolist()))
    assert len(seen) > count / 5


@engines
@pytest.mark.parametrize("beam, count, size", [(1, 20, 1), (2, 60, 20), (5, 300, 30), (10, 60, 20)])
def test_translations_are_those_of_the_dense_model(engine, beam, count, size):
    dense = transformer(0.3)
    sparse = copy.deepcopy(dense)
    found = sparsify(sparse, beam, engine, always())
    assert (found.sparse, found.dense) == (MATRICES, 0)
    assert_same_translations(dense, sparse, beam, count, size)


@engines
@pytest.mark.parametrize(
    "changes, further",
    [
        ({"share_all_embeddings": False}, 2),
        ({"share_all_embeddings": False, "share_decoder_input_output_embed": True}, 1),
        ({"encoder_normalize_before": True, "decoder_normalize_before": True}, 0),
    ],
)
def test_other_models(engine, changes, further):
    dense = transformer(0.3, **changes)
    sparse = copy.deepcopy(dense)
    assert sparsify(sparse, 5, engine, always()).sparse == MATRICES + further
    assert_same_translations(dense, sparse, 5, 20, 20)


@engines
def test_tied_matrices_are_held_once(engine):
    model = transformer(0.03)
    found = sparsify(model, 5, engine, always())
    embedding, output = model.encoder.embed_tokens, model.decoder.output_projection
    assert isinstance(embedding, PackedEmbedding) and isinstance(output, PackedLinear)
    assert embedding.matrix is model.decoder.embed_tokens.matrix
    assert embedding.matrix is output.matrix
    assert found.dense_bytes == 4 * (WORDS * DIM + 24 * DIM * DIM + 8 * DIM * FFN)
    assert found.bytes < found.dense_bytes / 5
    # but for the untrained copies that models of 0.12.2 carry
    left = [name for name, parameter in model.named_parameters() if parameter.dim() > 1]
    assert not any(map(is_parameter, left)), left


@engines
def test_a_second_time_changes_nothing(engine):
    model = transformer(0.03)
    first = sparsify(model, 5, engine, always())
    before = list(model.modules())
    assert sparsify(model, 1, engine, always()) == first
    assert all(a is b for a, b in zip(before, model.modules()))


@built
def test_dense_matrices_in_panels():
    dense = transformer(0.9)
    with torch.no_grad():
        dense.decoder.layers[1].fc1.weight[:, 3:] = 0
    packed = copy.deepcopy(dense)
    sparsify(packed, 5, choices=always())
    pack(packed)
    kinds = [type(module.matrix) for module in packed.modules() if isinstance(module, PackedLinear)]
    assert kinds.count(PanelMatrix) == MATRICES - 1 and kinds.count(KernelMatrix) == 1
    assert packed.decoder.embed_tokens.matrix is packed.decoder.output_projection.matrix
    assert str(sparsify(packed, 5, choices=always())).startswith("1 of 33 matrices are sparse")
    before = list(packed.modules())
    pack(packed)
    assert all(a is b for a, b in zip(before, packed.modules()))
    assert_same_translations(dense, packed, 5, 60, 20)


def test_what_is_too_dense_stays_as_it_is():
    model = transformer(0.9)
    before = list(model.modules())
    assert sparsify(model, 80, choices=always()).sparse == 0
    assert all(a is b for a, b in zip(before, model.modules()))
    assert not model.encoder.layers[0].self_attn.skip_embed_dim_check


def test_one_matrix_alone():
    model = transformer(0.9)
    with torch.no_grad():
        model.decoder.layers[1].fc1.weight[:, 1:] = 0
    dense = copy.deepcopy(model)
    assert sparsify(model, 5, choices=always()).sparse == 1
    assert isinstance(model.decoder.layers[1].fc1, PackedLinear)
    assert_same_translations(dense, model, 5, 20, 20)


def test_layers_that_do_more_than_multiply_stay():
    class Doubling(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    hooked = nn.Linear(8, 8)
    hooked.register_forward_hook(lambda module, inputs, output: 2 * output)
    embedding = nn.Embedding(10, 8, max_norm=1.0)
    model = nn.Sequential(embedding, Doubling(8, 8), hooked, nn.Linear(8, 8))
    with torch.no_grad():
        for layer in model:
            layer.weight.zero_()
    assert sparsify(model, choices=always()).sparse == 1
    assert [type(layer) for layer in model] == [nn.Embedding, Doubling, nn.Linear, PackedLinear]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_refused(kind):
    with pytest.raises(LotteryError, match="require fp32 weights on a CPU; omit --fp16"):
        sparsify(transformer(0.03).to(kind))


def test_matrices_wider_than_16_bits_can_number():
    model = nn.Sequential(nn.Linear(70_000, 2, bias=False))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[1, 69_999] = 2
    x = torch.randn(3, 70_000)
    expected = model(x)
    sparsify(model, choices=always())
    assert type(model[0].matrix) is SparseMatrix
    assert torch.equal(model(x), expected)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")
def test_a_matrix_of_nothing_stays_dense():
    layer = nn.Sequential(nn.Linear(0, 3), nn.Linear(3, 0))
    assert str(sparsify(layer, 5, choices=always())).startswith("0 of 2 matrices")
    assert layer(torch.ones(2, 0)).shape == (2, 0)


@pytest.mark.parametrize("ratio, held", [(1.04, 0), (1.06, MATRICES)])
def test_what_multiplies_no_faster_here_stays_dense(ratio, held):
    model = transformer(0.03)
    before = list(model.modules())
    assert sparsify(model, 5, SparseMatrix, always(ratio)).sparse == held
    assert (before == list(model.modules())) == (held == 0)


def test_each_kind_of_matrix_is_measured_once():
    asked = []

    def measure(ways):
        asked.append(tuple(way().shape for way in ways.values()))
        return {"dense": 2.0, "sparse": 1.0}

    choices = Choices(measure=measure)
    sparsify(transformer(0.03), 5, SparseMatrix, choices)
    shapes = {shape for one in asked for shape in one}
    assert shapes == {(rows, out) for rows in (5, 80) for out in (DIM, FFN, WORDS)}
    rows = {int(name.split(" left, ")[1].split()[0]) for name in choices.ratios}
    assert rows == {5, 80}
    # as many in turn as fill the place of all matrices that are multiplied with
    matrices = [m for m in transformer(0.03).modules() if isinstance(m, nn.Linear)]
    among = sum(weight.numel() for weight in {m.weight for m in matrices})
    for name in choices.ratios:
        out, width = map(int, name.split()[1].rstrip(",").split("x"))
        assert f" {among // (out * width)} in turn," in name
    assert len(asked) == len(choices.ratios)  # alike matrices share one
    sparsify(transformer(0.03), 5, SparseMatrix, choices)
    assert len(asked) == len(choices.ratios)


def test_a_table_that_is_looked_up_only_is_not_measured():
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 8))
    with torch.no_grad():
        for layer in model:
            layer.weight[:, 1:] = 0
    assert sparsify(model, 5, SparseMatrix, always(0.1)).sparse == 1
    assert [type(layer) for layer in model] == [PackedEmbedding, nn.Linear]


def test_without_any_engine_everything_stays_dense(monkeypatch):
    def refuse(*_):
        raise RuntimeError("addmm: sparse CSR on a CPU needs MKL")

    monkeypatch.setattr(sparse_decoding, "native", lambda: None)
    assert sparse_decoding.engine() is SparseMatrix
    monkeypatch.setattr(SparseMatrix, "linear", refuse)
    assert sparse_decoding.engine() is None
    assert sparsify(transformer(0.03), 5, choices=always()).sparse == 0


def test_the_line_that_is_logged():
    assert str(sparse_decoding.Sparse(97, 0, 38_210_000, 251_900_000)) == (
        "97 of 97 matrices are sparse: 38.2 MB, dense 251.9 MB"
    )
