"""Heads of a RoBERTa with a classifier: gates, pruned weights, importance, confidence."""

import copy

import numpy as np
import pytest
import torch
from analysis.encoders import HEADS, LAYERS, marked, pair_task, roberta

from fairseq_lottery.formats import trainable
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import clear_biases, weight_masks
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.measures.head_attention import confidence
from fairseq_lottery.heads.measures.importance import importance
from fairseq_lottery.inference.attention_weights import watched_heads
from fairseq_lottery.masks import shapes_of

STACK = "encoder.sentence_encoder.layers"
LABELS = [["yes"], ["no"], ["yes"], ["no"]]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    first = marked(["ab c", "a", "cab bc a b", "ba ba"])
    second = marked(["b", "ca b cc", "a", "c ab ab ab"])
    return pair_task(tmp_path_factory.mktemp("pairs"), first, second, LABELS)


@pytest.fixture(scope="module")
def model(task):
    made = roberta(task.source_dictionary)
    torch.manual_seed(5)
    made.register_classification_head("sentence_classification_head", num_classes=2)
    return made.double().eval()


@pytest.fixture
def anatomy(model):
    return Anatomy.of(shapes_of(trainable(model)), {"encoder_attention_heads": HEADS})


@pytest.fixture(scope="module")
def batch(task):
    dataset = task.dataset("valid")
    return dataset.collater([dataset[n] for n in range(4)])


def logits(model, batch):
    name = "sentence_classification_head"
    out = model(**batch["net_input"], features_only=True, classification_head_name=name)
    return out[0]


def loss(model, batch):
    """Cross-entropy of the classes in nats, and the examples, as fairseq's criterion counts."""
    probabilities = torch.log_softmax(logits(model, batch), dim=-1)
    target = batch["target"].view(-1)
    return -probabilities.gather(1, target[:, None]).sum(), len(target), len(target)


def test_its_heads_and_units_are_those_of_its_encoder(anatomy):
    assert list(anatomy.heads) == [f"{STACK}.{n}.self_attn" for n in range(LAYERS)]
    assert list(anatomy.units) == [f"{STACK}.{n}" for n in range(LAYERS)]


@pytest.mark.parametrize("mode", ["zero", "uniform"])
def test_pruned_weights_are_closed_gates(model, anatomy, batch, mode):
    heads = {f"{STACK}.0.self_attn": [1, 3], f"{STACK}.1.self_attn": [0]}
    components = ComponentMask(anatomy, {"heads": heads}, mode)
    gates = Gates(model, anatomy)
    gates.set(components)
    with torch.no_grad(), gates.attached():
        gated = logits(model, batch)
    pruned = copy.deepcopy(model)
    parameters = trainable(pruned)
    with torch.no_grad():
        for name, keep in weight_masks(components, shapes_of(parameters)).items():
            parameters[name][~keep] = 0
        clear_biases(parameters, components)
        assert torch.allclose(logits(pruned, batch), gated, atol=1e-12)
        assert not torch.allclose(logits(model, batch), gated, atol=1e-3)


def test_a_uniform_head_attends_evenly_to_all_tokens_of_an_example(model, anatomy, batch):
    """Delimiters are among them, padding is not (Budhraja et al. mask the scores of BERT)."""
    name, seen = f"{STACK}.0.self_attn", {}
    gates = Gates(model, anatomy)
    gates.set(ComponentMask(anatomy, {"heads": {name: [2]}}, "uniform"))
    with torch.no_grad(), gates.attached(), watched_heads(model, [name], seen.__setitem__):
        logits(model, batch)
    real = batch["net_input"]["src_tokens"] != 1
    assert not real.all()
    even = real / real.sum(dim=1, keepdim=True)
    for row in range(4):
        own = seen[name][2, row][real[row]]
        assert torch.allclose(own, even[row].to(own).expand_as(own), atol=1e-7)
        assert not torch.allclose(seen[name][1, row][real[row]], own, atol=1e-3)


@pytest.mark.parametrize("per", ["sentence", "batch"])
def test_importance_is_the_derivative_of_the_classifiers_loss(model, anatomy, batch, per):
    """|dL/dgate| of every example by a central difference; their mean, or that of the batch."""
    found = importance(Gates(model, anatomy), [batch], loss, per)
    gates = Gates(model, anatomy)
    for name in anatomy.heads:
        for head in range(HEADS):
            sides = []
            for factor in (1 + 1e-2, 1 - 1e-2):
                gates.values["heads"][name] = torch.ones(HEADS, dtype=torch.float64)
                gates.values["heads"][name][head] = factor
                with gates.attached(), torch.no_grad():
                    own = torch.log_softmax(logits(model, batch), dim=-1)
                    target = batch["target"].view(-1, 1)
                    sides.append(-own.gather(1, target)[:, 0].numpy())
            gates.values["heads"][name][head] = 1
            slopes = (sides[0] - sides[1]) / 2e-2  # fairseq computes softmax in fp32
            expected = np.abs(slopes).mean() if per == "sentence" else abs(slopes.sum())
            assert float(found["heads"][name][head]) == pytest.approx(expected, rel=5e-3, abs=2e-5)


def test_the_last_layer_counts_at_the_first_token_only(model, anatomy, batch):
    """The classifier reads <s>, so other positions of the last layer have no gradient."""
    gates = Gates(model, anatomy)
    with gates.attached(), gates.watched() as watched:
        value, _, _ = loss(model, batch)
        for layer, is_last in ((LAYERS - 1, True), (0, False)):
            (local,) = watched["heads", f"{STACK}.{layer}.self_attn"]
            (gradient,) = torch.autograd.grad(value, [local], retain_graph=True)
            assert bool((gradient[1:] == 0).all()) == is_last and bool((gradient[0] != 0).all())


def test_confidence_leaves_delimiters_out(model, anatomy, batch):
    found = confidence(model, anatomy, [batch], ignored=(0, 2, 1))["heads"]
    seen = {}
    with torch.no_grad(), watched_heads(model, anatomy.heads, seen.__setitem__):
        model(**batch["net_input"])
    tokens = batch["net_input"]["src_tokens"]
    for name, weights in seen.items():
        for head in range(HEADS):
            best = [
                max(
                    float(weights[head, row, query, key]) for key in np.flatnonzero(tokens[row] > 2)
                )
                for row in range(4)
                for query in np.flatnonzero(tokens[row] > 2)
            ]
            assert float(found[name][head]) == pytest.approx(np.mean(best), abs=1e-6)
