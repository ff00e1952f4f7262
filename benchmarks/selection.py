"""Time and memory of exact global selection over 44 M weights, against its peers.

    python benchmarks/selection.py [--json]

Each method runs in a process of its own, so that its peak memory is its own: the rise of the
resident set over what the weights and masks take anyway. Every method finds the same count.
"""

import argparse
import json
import resource
import statistics
import time

import numpy as np
import torch
from common import apart, base_shapes, report, spread

from fairseq_lottery.masks import Mask, count_to_prune, find_score, score_all, select

SPARSITY = 0.9


def weights_of(shapes):
    generator = torch.Generator().manual_seed(1)
    return {n: torch.randn(s, generator=generator) * 0.05 for n, s in shapes.items()}


def ours(weights):
    score, _ = find_score("magnitude")
    full = Mask.full({name: tuple(w.shape) for name, w in weights.items()})
    return select(score_all(score, weights), full, SPARSITY, "global").pruned


def all_magnitudes(weights):
    return torch.cat([w.abs().reshape(-1) for w in weights.values()])


def below(weights, threshold):
    return sum(int((w.abs() <= threshold).sum()) for w in weights.values())


def kthvalue(weights):
    flat = all_magnitudes(weights)
    return below(weights, torch.kthvalue(flat, count_to_prune(SPARSITY, flat.numel())).values)


def sort(weights):
    flat = all_magnitudes(weights)
    return below(weights, flat.sort().values[count_to_prune(SPARSITY, flat.numel()) - 1])


def partition(weights):
    flat = all_magnitudes(weights).numpy()
    k = count_to_prune(SPARSITY, flat.size) - 1
    flat.partition(k)
    return below(weights, float(flat[k]))


METHODS = {"fairseq_lottery": ours, "np.partition": partition, "kthvalue": kthvalue, "sort": sort}


def measure(name, repeats, threads):
    torch.set_num_threads(threads)
    weights = weights_of(base_shapes())
    small = {n: w[:2, :2].clone() for n, w in weights.items()}
    METHODS[name](small)  # first calls load libraries
    masks = sum(w.numel() for w in weights.values()) / 2**20  # a result of one byte a weight
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        count = METHODS[name](weights)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    return {"seconds": seconds, "extra_mb": peak, "masks_mb": masks, "pruned": count}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = {name: apart(measure, name, args.repeats, args.threads) for name in METHODS}
    reference = statistics.median(found["fairseq_lottery"]["seconds"])
    rows = [
        [
            name,
            spread(row["seconds"]),
            f"{statistics.median(row['seconds']) / reference:.2f}",
            f"{row['extra_mb']:.0f}",
            row["pruned"],
        ]
        for name, row in found.items()
    ]
    weights = sum(int(np.prod(s)) for s in base_shapes().values())
    title = f"Exact global selection of {SPARSITY:.0%} of {weights:,} weights"
    header = ["method", "seconds [min, max]", "ratio", "extra MB", "pruned"]
    report(title, header, rows, {"methods": json.loads(json.dumps(found))}, args.json)


if __name__ == "__main__":
    main()
