"""Masks equal those of ``torch.nn.utils.prune`` on the same weights, where there are no ties.

Two rules of counting differ, so the property gives torch the number of weights:

* torch rounds ``amount * n`` in floating point, halves to even; here the count is the exact
  fraction, halves rounded up;
* torch knows no padding row; here it is neither pruned nor counted.

Among equal magnitudes torch leaves the choice to ``topk``, which promises none; so all magnitudes
differ in these weights.
"""

import torch
from hypothesis import given
from hypothesis import strategies as st
from small import EMBEDDING, PROPERTY, SHAPES, full_mask, weights
from torch.nn.utils import prune

from fairseq_lottery.masks import Mask, count_to_prune, score_all, select
from fairseq_lottery.masks.scores import magnitude

shapes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4)
seeds = st.integers(0, 2**31)
sparsities = st.one_of(st.sampled_from([0.0, 0.5, 0.7, 0.9, 0.95, 0.98]), st.floats(0, 0.999))


def distinct_weights(sizes, seed):
    """Name -> weights of any sign, of which no two in all have the same magnitude."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(rows * columns for rows, columns in sizes)
    magnitudes = (torch.randperm(total, generator=generator).float() + 1) / total
    values = magnitudes * (torch.randint(0, 2, (total,), generator=generator) * 2 - 1)
    parts = values.split([rows * columns for rows, columns in sizes])
    return {f"w{i}": part.reshape(size) for i, (part, size) in enumerate(zip(parts, sizes))}


def ours(parameters, sparsity, scope):
    full = Mask.full({name: tuple(weight.shape) for name, weight in parameters.items()})
    return select(score_all(magnitude, parameters), full, sparsity, scope)


def torch_modules(parameters):
    modules = {name: torch.nn.Module() for name in parameters}
    for name, module in modules.items():
        module.weight = torch.nn.Parameter(parameters[name].clone())
    return modules


def torch_layerwise(parameters, amount):
    """Keep-tensors of torch's ``l1_unstructured``; ``amount`` of a weight's size, or a share."""
    modules = torch_modules(parameters)
    for module in modules.values():
        share = amount(module.weight.numel()) if callable(amount) else amount
        prune.l1_unstructured(module, "weight", amount=share)
    return {name: module.weight_mask.bool() for name, module in modules.items()}


def torch_globally(parameters, amount):
    """Keep-tensors of torch's ``global_unstructured`` with L1."""
    modules = torch_modules(parameters)
    chosen = [(module, "weight") for module in modules.values()]
    prune.global_unstructured(chosen, pruning_method=prune.L1Unstructured, amount=amount)
    return {name: module.weight_mask.bool() for name, module in modules.items()}


def assert_equal(mask, keep):
    assert list(mask) == sorted(keep)
    for name in mask:
        assert torch.equal(mask[name], keep[name]), name


@PROPERTY
@given(shapes, sparsities, seeds)
def test_layerwise(sizes, sparsity, seed):
    parameters = distinct_weights(sizes, seed)
    keep = torch_layerwise(parameters, lambda size: count_to_prune(sparsity, size))
    assert_equal(ours(parameters, sparsity, "layer"), keep)


@PROPERTY
@given(shapes, sparsities, seeds)
def test_globally(sizes, sparsity, seed):
    parameters = distinct_weights(sizes, seed)
    total = sum(weight.numel() for weight in parameters.values())
    keep = torch_globally(parameters, count_to_prune(sparsity, total))
    assert_equal(ours(parameters, sparsity, "global"), keep)


@PROPERTY
@given(shapes, sparsities, seeds)
def test_shares_give_the_same_but_where_a_half_is_rounded(sizes, sparsity, seed):
    parameters = distinct_weights(sizes, seed)
    mask, keep = ours(parameters, sparsity, "layer"), torch_layerwise(parameters, float(sparsity))
    for name in mask:
        size = mask.size(name)
        theirs = int((~keep[name]).sum())
        assert theirs == round(sparsity * size)
        if theirs == count_to_prune(sparsity, size):
            assert torch.equal(mask[name], keep[name])
        else:  # one weight apart: a half, exactly or in floating point
            assert abs(theirs - mask.pruned_in(name)) == 1
            assert abs(sparsity * size % 1 - 0.5) < 1e-9


def test_a_half_is_rounded_up_here_and_to_even_there():
    parameters = distinct_weights([(1, 5), (1, 7)], 1)
    mask, keep = ours(parameters, 0.5, "layer"), torch_layerwise(parameters, 0.5)
    assert [mask.pruned_in(name) for name in mask] == [3, 4]
    assert [int((~keep[name]).sum()) for name in keep] == [2, 4]


def test_a_transformer_without_its_padding_row():
    parameters = {name: w for name, w in weights(3).items() if name in full_mask()}
    mask = select(score_all(magnitude, parameters), full_mask(), 0.8)
    words = SHAPES[EMBEDDING][0]
    rest = [row for row in range(words) if row != mask.protected[EMBEDDING]]
    bare = {**parameters, EMBEDDING: parameters[EMBEDDING][rest]}
    keep = torch_layerwise(bare, lambda size: count_to_prune(0.8, size))
    assert bool(mask[EMBEDDING][mask.protected[EMBEDDING]].all())
    assert torch.equal(mask[EMBEDDING][rest], keep.pop(EMBEDDING))
    for name in keep:
        assert torch.equal(mask[name], keep[name]), name
