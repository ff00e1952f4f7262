"""The best tokens of each row against torch's log-softmax and top-k."""

import math

import pytest
import torch
from engines import built
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.sparse_matrix import KernelMatrix, PanelMatrix

pytestmark = built
FILLER = 1


def best(features, matrices, most, temperature=1.0, bonus=None, forced=None, banned=(), bias=None):
    """Return scores and tokens of the compiled operator."""
    types = matrices[0].outputs
    linear = torch.classes.fairseq_lottery.Linear
    pairs = torch.tensor(banned, dtype=torch.int64).view(-1, 2)
    return native().best_tokens(
        features,
        [linear(*matrix.parts(), bias) for matrix in matrices],
        temperature,
        torch.zeros(types) if bonus is None else bonus,
        torch.full((len(features[0]) if features else 0,), -1) if forced is None else forced,
        pairs[:, 0].contiguous(),
        pairs[:, 1].contiguous(),
        most,
        FILLER,
    )


def expected_scores(features, weights, temperature, bonus, forced, banned, bias=None):
    """Return the score of each token in double precision."""
    logits = [(x.double() @ w.double().t() + (0 if bias is None else bias)) / temperature
              for x, w in zip(features, weights)]  # fmt: skip
    scores = torch.stack([x.log_softmax(1) for x in logits]).logsumexp(0) - math.log(len(logits))
    scores = scores + bonus.double()
    for row, token in enumerate(forced.tolist()):
        if token >= 0:
            kept = scores[row, token].clone()
            scores[row] = -math.inf
            scores[row, token] = kept
    for row, token in banned:
        scores[row, token] = -math.inf
    return scores


@PROPERTY
@given(st.data())
def test_scores_and_tokens_are_those_of_torch(data):
    seed = data.draw(st.integers(0, 1 << 30))
    rows, width = data.draw(st.integers(1, 100)), data.draw(st.integers(1, 20))
    types = data.draw(st.integers(2, 300))
    models = data.draw(st.integers(1, 3))
    most = data.draw(st.integers(1, types))
    temperature = data.draw(st.sampled_from([1.0, 0.3, 2.5]))
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(types, width, generator=generator) for _ in range(models)]
    features = [torch.randn(rows, width, generator=generator) for _ in range(models)]
    bonus = torch.zeros(types)
    bonus[torch.rand(types, generator=generator) < 0.1] = -math.inf
    bonus[torch.rand(types, generator=generator) < 0.1] = data.draw(st.sampled_from([-2.0, 3.0]))
    forced = torch.full((rows,), -1)
    forced[torch.rand(rows, generator=generator) < 0.2] = types // 2
    banned = [(row, token) for row in range(0, rows, 3) for token in range(row % 7, types, 5)]
    form = data.draw(st.sampled_from([KernelMatrix, PanelMatrix]))
    scores, tokens = best(
        features, [form(w) for w in weights], most, temperature, bonus, forced, banned
    )
    expected = expected_scores(features, weights, temperature, bonus, forced, banned)
    assert scores.shape == tokens.shape == (rows, most)
    ordered = expected.sort(1, descending=True)[0][:, :most]
    assert torch.allclose(scores.double(), ordered, rtol=1e-5, atol=1e-4)
    is_found = scores > -math.inf
    assert torch.allclose(
        scores.double()[is_found], expected.gather(1, tokens)[is_found], rtol=1e-5, atol=1e-4
    )
    for row in range(rows):
        assert len(set(tokens[row][is_found[row]].tolist())) == int(is_found[row].sum())
    assert (tokens[~is_found & (forced < 0)[:, None]] == FILLER).all()


def test_logits_far_apart():
    """The sum of exponentials neither overflows nor loses the largest one."""
    weight = torch.tensor([[-3e4], [3e4], [1e4], [2.99999e4]])
    scores, tokens = best([torch.ones(3, 1)], [PanelMatrix(weight)], 3)
    assert tokens.tolist() == [[1, 3, 2]] * 3
    expected = weight[:, 0].double().log_softmax(0)[[1, 3, 2]]
    assert torch.allclose(scores[0].double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_that_is_nan_has_no_tokens(value):
    features = torch.randn(5, 4)
    features[2, 1] = value
    weight = torch.rand(30, 4) + 0.1
    scores, tokens = best([features], [PanelMatrix(weight)], 3)
    assert (scores[2] == -math.inf).all() and (tokens[2] == FILLER).all()
    assert (scores[[0, 1, 3, 4]] > -math.inf).all()
    scores, _ = best([features, features], [PanelMatrix(weight)] * 2, 3)
    assert (scores[2] == -math.inf).all() and (scores[[0, 1, 3, 4]] > -math.inf).all()


def test_a_bias():
    weight, x, bias = torch.randn(37, 6), torch.randn(20, 6), torch.randn(37) * 3
    scores, _ = best([x], [PanelMatrix(weight)], 5, bias=bias)
    nothing = (torch.zeros(37), torch.full((20,), -1), [])
    expected = expected_scores([x], [weight], 1.0, *nothing, bias=bias)
    assert torch.allclose(scores.double(), expected.topk(5)[0], atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"forced": torch.full((4,), -1)},
        {"features": [torch.randn(5, 7)]},
        {"features": []},
        {"most": 0},
    ],
)
def test_malformed_arguments_are_refused(change):
    arguments = {"features": [torch.randn(5, 6)], "matrices": [PanelMatrix(torch.randn(9, 6))],
                 "most": 2, **change}  # fmt: skip
    with pytest.raises(RuntimeError, match="malformed"):
        best(**arguments)
