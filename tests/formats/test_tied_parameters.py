import torch
from small import EMBEDDING, SHAPES, TIED, model, weights

from fairseq_lottery.formats import is_parameter, trainable, untie


def test_buffers_and_the_copies_of_0_12_2_are_no_parameters():
    no_parameters = [
        "encoder.version",
        "decoder.embed_positions._float_tensor",
        "encoder.layers.0.fc1_weight",
        "encoder.layers.11.in_proj_bias",
        "layers.0.out_proj_weight",  # of an encoder by itself
    ]
    assert [name for name in no_parameters if is_parameter(name)] == []
    assert all(map(is_parameter, SHAPES))
    assert is_parameter("encoder.layers.0.self_attn.in_proj_weight"), "of older fairseqs"


def test_a_tied_tensor_counts_once_though_it_is_stored_thrice():
    parameters = weights()
    found, ties = untie(model(parameters))
    assert list(found) == list(SHAPES)
    assert all(torch.equal(found[name], parameters[name]) for name in found)
    assert ties == dict.fromkeys(TIED, EMBEDDING)


def test_one_bit_of_difference_makes_two_tensors():
    state = model(weights())
    state[TIED[1]][3, 2] += 1e-6
    found, ties = untie(state)
    assert set(found) == {*SHAPES, TIED[1]} and ties == {TIED[0]: EMBEDDING}


def test_equal_matrices_that_are_no_vocabulary_stay_two():
    state = {f"encoder.layers.{i}.fc1.weight": torch.ones(6, 4) for i in (0, 1)}
    assert untie(state) == (state, {})


def test_vocabularies_of_nothing_but_zeros_are_not_taken_for_tied():
    state = {EMBEDDING: torch.zeros(12, 4), TIED[1]: torch.zeros(12, 4)}
    assert untie(state)[1] == {}


def test_the_trainable_parameters_of_a_module():
    module = torch.nn.Module()
    module.first = torch.nn.Linear(2, 3, bias=False)
    module.second = torch.nn.Linear(2, 3)
    module.second.weight = module.first.weight
    module.frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    module.register_buffer("version", torch.ones(1))
    assert list(trainable(module)) == ["first.weight", "second.bias"]
