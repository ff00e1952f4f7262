"""What heads look at, against a calculation of its own from queries and keys."""

import copy

import pytest
import torch
from live import HEADS, anatomy, log_probs, sentences, transformer

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.measures.head_attention import confidence
from fairseq_lottery.inference.attention_weights import watched_heads

NAME = "encoder.layers.0.self_attn"


def run(model, batch):
    model(**batch["net_input"])
    return batch["net_input"]["src_tokens"], batch["net_input"]["prev_output_tokens"]


def test_the_weights_are_the_softmax_of_queries_and_keys():
    model, batch, seen = transformer(), sentences(3), {}
    inputs = []
    hook = model.encoder.layers[0].self_attn.q_proj.register_forward_hook(
        lambda module, given, output: inputs.append(given[0])
    )
    without = log_probs(model, batch)
    with watched_heads(model, anatomy(model).heads, seen.__setitem__):
        watched = log_probs(model, batch)
    hook.remove()
    assert torch.allclose(watched, without, atol=1e-5)
    assert set(seen) == set(anatomy(model).heads)
    assert "forward" not in vars(model.encoder.layers[0].self_attn)  # nothing is left behind
    attention, x = model.encoder.layers[0].self_attn, inputs[-1]
    query, key = (p(x).unflatten(-1, (HEADS, -1)) for p in (attention.q_proj, attention.k_proj))
    scores = torch.einsum("qbhd,kbhd->hbqk", query, key) / query.shape[-1] ** 0.5
    padding = batch["net_input"]["src_tokens"] == 1
    expected = scores.masked_fill(padding[None, :, None, :], -torch.inf).softmax(dim=-1)
    assert torch.allclose(seen[NAME], expected, atol=1e-5)


def test_confidence_is_the_mean_of_the_largest_weight():
    model, batch, seen = transformer(), sentences(4), {}
    found = confidence(model, anatomy(model), [batch], ignored=(0, 2, 1))["heads"]
    with watched_heads(model, anatomy(model).heads, seen.__setitem__):
        source, previous = run(model, batch)
    for name, weights in seen.items():
        encoder, cross = name.startswith("encoder"), name.endswith("encoder_attn")
        queries = source if encoder else previous
        keys = source if encoder or cross else previous
        for head in range(HEADS):
            best = []
            for row in range(4):
                for q, query in enumerate(queries[row].tolist()):
                    real = [k for k, key in enumerate(keys[row].tolist()) if key > 2]
                    values = [float(weights[head, row, q, k]) for k in real]
                    # the first query of a decoder sees </s> only
                    if query > 2 and any(value > 0 for value in values):
                        best.append(max(values))
            assert float(found[name][head]) == pytest.approx(sum(best) / len(best), abs=1e-5)


def test_an_even_head_has_the_confidence_of_its_length():
    model, batch = transformer(), sentences(1)
    gates = Gates(model, anatomy(model))
    gates.set(ComponentMask(anatomy(model), {"heads": {NAME: [2]}}, "uniform"))
    with gates.attached():
        found = confidence(model, anatomy(model), [batch], ignored=(0, 2, 1))["heads"]
    length = int((batch["net_input"]["src_tokens"] != 1).sum())
    assert float(found[NAME][2]) == pytest.approx(1 / length, abs=1e-6)
    assert float(found[NAME][1]) > 1 / length


def test_no_data():
    model = copy.deepcopy(transformer())
    with pytest.raises(LotteryError, match="no examples"):
        confidence(model, anatomy(model), [], ignored=(0, 2, 1))


def test_a_decoder_that_looks_at_both_sides_at_once_is_refused():
    model = transformer(no_cross_attention=True, cross_self_attention=True)
    with pytest.raises(
        LotteryError, match="decoder.layers.0.self_attn attends to source and target"
    ):
        confidence(model, anatomy(model), [sentences()], ignored=(0, 2, 1))
