"""Changes of heads, against sums worked out one by one."""

import copy

import pytest
import torch
from live import DIM, HEADS, anatomy, sentences, transformer

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import trainable
from fairseq_lottery.heads.measures.head_changes import attention_change, difference, weight_change
from fairseq_lottery.inference.attention_weights import watched_heads

NAME = "decoder.layers.1.encoder_attn"
WIDTH = DIM // HEADS


def run(model, batch):
    model(**batch["net_input"])
    return batch["net_input"]["src_tokens"], batch["net_input"]["prev_output_tokens"]


def weights(model):
    return {name: p.detach() for name, p in trainable(model).items()}


def test_only_the_head_that_moved_has_changed():
    model = transformer()
    other = copy.deepcopy(model)
    rows = slice(2 * WIDTH, 3 * WIDTH)
    with torch.no_grad():
        other.decoder.layers[1].encoder_attn.q_proj.weight[rows] += 0.5
        other.decoder.layers[1].encoder_attn.out_proj.weight[:, rows] *= 2
    found = weight_change(weights(model), weights(other), anatomy(model))["heads"]
    attention = model.decoder.layers[1].encoder_attn
    out = attention.out_proj.weight[:, rows].detach()
    squares = 0.25 * WIDTH * DIM + float(out.square().sum())
    size = float(out.square().sum())
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        for parameter in (projection.weight, projection.bias):
            size += float(parameter.detach()[rows].square().sum())
    assert float(found[NAME][2]) == pytest.approx((squares / size) ** 0.5, rel=1e-6)
    assert sum(int((values != 0).sum()) for values in found.values()) == 1


def test_heads_of_zeros():
    model = transformer()
    gone = {name: torch.zeros_like(w) for name, w in weights(model).items()}
    still = weight_change(gone, gone, anatomy(model))["heads"][NAME]
    back = weight_change(gone, weights(model), anatomy(model))["heads"][NAME]
    assert (still.tolist(), back.tolist()) == ([0.0] * HEADS, [1.0] * HEADS)
    with pytest.raises(LotteryError, match="has shape .1,.* after training, expected .16,"):
        bad = {name: w[:1] for name, w in weights(model).items()}
        weight_change(weights(model), bad, anatomy(model))


def test_the_distance_of_attention():
    model, other = transformer(seed=1), transformer(seed=2)
    data = [sentences(3, seed=1), sentences(2, seed=7)]
    found = attention_change(model, other, anatomy(model), data, pad=1)["heads"]
    sums, count = torch.zeros(HEADS), 0
    for batch in data:
        seen = [{}, {}]
        for one, kept in zip((model, other), seen):
            with watched_heads(one, anatomy(one).heads, kept.__setitem__):
                _, previous = run(one, batch)
        for row in range(len(previous)):
            for query in range(previous.shape[1]):
                if previous[row, query] == 1:
                    continue
                a, b = (kept[NAME][:, row, query] for kept in seen)
                sums += torch.maximum(a - b, torch.zeros(())).sum(dim=-1)
                count += 1
    assert torch.allclose(found[NAME].float(), sums / count, atol=1e-5)
    assert 0 < float(found[NAME].min()) and float(found[NAME].max()) < 1
    same = attention_change(model, model, anatomy(model), data, pad=1)["heads"]
    assert all(not values.any() for values in same.values())
    less = difference({"heads": found}, {"heads": found})
    assert all(not values.any() for values in less["heads"].values())
    with pytest.raises(LotteryError, match="no examples"):
        attention_change(model, other, anatomy(model), [], pad=1)
