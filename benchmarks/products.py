"""One product with a pruned matrix: dense by torch, its CSR, and both compiled products.

    python benchmarks/products.py [--json]

The shapes of a Transformer base, its output projection over a vocabulary of 37,000 among them,
at several densities and rows (sentences x beam). Ratios are dense time over sparse time, of the
medians. The last table is the largest density at which, and below which, no shape is slower than
torch's dense product here; ``--sparse-decode`` compares the compiled products with each other
(``fairseq_lottery/sparse/matrix_choices.py``).
"""

import argparse
import statistics
import time
from functools import partial

import torch
import torch.nn.functional as F
from common import report

from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.sparse_matrix import KernelMatrix, PanelMatrix, SparseMatrix

SHAPES = ((512, 512), (2048, 512), (512, 2048), (37000, 512))
DENSITIES = (0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02)
ENGINES = {"sparse": KernelMatrix, "panels": PanelMatrix, "torch CSR": SparseMatrix}


def in_turn(ways, seconds):
    """Median seconds of each, taken in turn for about ``seconds``."""
    taken = {name: [] for name in ways}
    for way in ways.values():
        way()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken["dense"]) < 3:
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in taken.items()}


def measure(shape, density, rows, seconds):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(shape, generator=generator)
    weight *= torch.rand(shape, generator=generator) < density
    x, bias = torch.randn(rows, shape[1], generator=generator), torch.zeros(shape[0])
    ways = {"dense": lambda: F.linear(x, weight, bias)}
    for name, engine in ENGINES.items():
        ways[name] = partial(engine(weight).linear, x, bias)
    found = in_turn(ways, seconds)
    return {name: found["dense"] / found[name] for name in ENGINES}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", default="1,2,3,5,10,80,400")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each cell")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if native() is None:
        raise SystemExit("the kernel cannot be built here; nothing to compare")
    cells, table, rule = [], [], []
    for rows in map(int, args.rows.split(",")):
        largest, lost = {}, set()
        for density in sorted(DENSITIES):
            ratios = {shape: measure(shape, density, rows, args.seconds) for shape in SHAPES}
            cells += [
                {"rows": rows, "density": density, "shape": shape, **found}
                for shape, found in ratios.items()
            ]
            for name in ENGINES:
                found = [ratios[shape][name] for shape in SHAPES]
                table.append([rows, density, name, *(f"{ratio:.2f}" for ratio in found)])
                if min(found) < 1:
                    lost.add(name)
                if name not in lost:
                    largest[name] = density
        rule.append([rows, *(largest.get(name, "none") for name in ENGINES)])
    header = ["rows", "density", "engine", *(f"{o} x {i}" for o, i in SHAPES)]
    title = "Dense time over sparse time of one product"
    if args.json:
        report(title, header, table, {"cells": cells}, True)
        return
    report(title, header, table, {}, False)
    print()
    report("Largest density up to which no shape is slower", ["rows", *ENGINES], rule, {}, False)


if __name__ == "__main__":
    main()
