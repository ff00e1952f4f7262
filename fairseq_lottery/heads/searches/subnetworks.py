"""Good, random and bad subnetworks of one size (Prasanna et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.component_mask import ComponentMask, shuffled
from fairseq_lottery.masks import Mask, select, shapes_of
from fairseq_lottery.masks.streams import uniform

#: names of subnetworks; ``good`` are the survivors
SUBNETWORKS = ("good", "random", "bad")


def subnetworks(good: ComponentMask, seed: int) -> dict[str, ComponentMask]:
    """Return the survivors and two controls that keep as many components of each kind.

    ``random`` is sampled from all components of a kind. (The public code keeps each component with
    a probability, so the size matches in expectation only.) ``bad`` is sampled from the components
    that did not survive; if they are too few, it keeps all of them and random survivors.

    Args:
        good: the survivors of a search.
        seed: seed of both samples.
    """
    random = bad = ComponentMask(good.anatomy, {}, good.mode)
    for kind in KINDS:
        sizes = good.anatomy.sizes[kind]
        everything = [(name, number) for name in sizes for number in range(sizes[name])]
        pruned = set(good.pruned(kind))
        size = len(everything) - len(pruned)
        sample = shuffled(everything, sizes, f"random|{kind}", seed)
        random = random.without(kind, sample[size:])
        sample = shuffled(everything, sizes, f"bad|{kind}", seed)
        sample = [c for c in sample if c in pruned] + [c for c in sample if c not in pruned]
        bad = bad.without(kind, sample[size:])
    return {"good": good, "random": random, "bad": bad}


def weight_subnetworks(good: Mask, weights: Mapping[str, Tensor], seed: int) -> dict[str, Mask]:
    """Return the survivors of m-pruning and two controls that keep as many weights.

    ``random`` is sampled from all prunable weights. ``bad`` keeps the smallest of the weights that
    did not survive; if they are too few, it keeps all of them and the smallest survivors.

    Args:
        good: the survivors, which have the largest magnitudes.
        weights: trained weights of at least the mask's matrices.
        seed: seed of the sample.
    """
    full = Mask.full(shapes_of(good), good.protected)
    matrices = {name: weights[name] for name in good}
    sample = {
        name: uniform(f"random-weights|{seed}|{name}", weight.numel()).reshape(weight.shape)
        for name, weight in matrices.items()
    }
    negated = {name: -weight.float().abs() for name, weight in matrices.items()}
    # of equal magnitudes some may have survived: lower their score, so that they are pruned first
    below = torch.tensor(-torch.inf)
    scores = {n: torch.where(good[n], torch.nextafter(s, below), s) for n, s in negated.items()}
    sparsity = good.pruned / good.prunable
    controls = {"random": sample, "bad": scores}
    return {"good": good, **{n: select(s, full, sparsity, "global") for n, s in controls.items()}}
