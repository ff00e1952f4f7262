"""Good, random and bad subnetworks of one size (Prasanna et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.parts import Parts, shuffled
from fairseq_lottery.masks import Mask, select
from fairseq_lottery.masks.streams import uniform

#: good are the survivors themselves
SUBNETWORKS = ("good", "random", "bad")


def subnetworks(good: Parts, seed: int) -> dict[str, Parts]:
    """Return the survivors and their two controls, each with as many open parts of each kind.

    ``random`` is sampled from all parts of a kind; in the public code every part is kept with
    the probability of the size, which matches it in expectation only. ``bad`` is sampled from
    what did not survive; where that is fewer, all of it is open, filled up with survivors by
    chance.

    Args:
        good: the survivors of a search.
        seed: of both samples.
    """
    random = bad = Parts(good.anatomy, {}, good.mode)
    for kind in KINDS:
        sizes = good.anatomy.sizes[kind]
        everything = [(name, number) for name in sizes for number in range(sizes[name])]
        closed = set(good.closed(kind))
        size = len(everything) - len(closed)
        sample = shuffled(everything, sizes, f"random|{kind}", seed)
        random = random.without(kind, sample[size:])
        sample = shuffled(everything, sizes, f"bad|{kind}", seed)
        sample = [p for p in sample if p in closed] + [p for p in sample if p not in closed]
        bad = bad.without(kind, sample[size:])
    return {"good": good, "random": random, "bad": bad}


def weight_subnetworks(good: Mask, weights: Mapping[str, Tensor], seed: int) -> dict[str, Mask]:
    """Return the survivors of m-pruning and their two controls, each with as many weights.

    ``random`` is sampled from all prunable weights. ``bad`` has what did not survive, the largest
    magnitudes removed first; where that is fewer, all of it and the smallest survivors.

    Args:
        good: the survivors, with the largest magnitudes of all.
        weights: trained, of the mask's matrices at least.
        seed: of the sample.
    """
    full = Mask.full({name: tuple(keep.shape) for name, keep in good.items()}, good.protected)
    matrices = {name: weights[name] for name in good}
    sample = {
        name: uniform(f"random-weights|{seed}|{name}", weight.numel()).reshape(weight.shape)
        for name, weight in matrices.items()
    }
    lost = {name: -weight.float().abs() for name, weight in matrices.items()}
    # of equal magnitudes some survived and some did not: just below, survivors go first
    below = torch.tensor(-torch.inf)
    scores = {n: torch.where(good[n], torch.nextafter(s, below), s) for n, s in lost.items()}
    sparsity = good.pruned / good.prunable
    controls = {"random": sample, "bad": scores}
    return {"good": good, **{n: select(s, full, sparsity, "global") for n, s in controls.items()}}
