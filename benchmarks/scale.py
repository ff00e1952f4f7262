"""Selection, masking and storage from 10 million to a billion weights: time and memory grow how?

    python benchmarks/scale.py [--sizes 10,30,100,300,1000] [--json]

Layers of a Transformer base, as many as it takes, at 90 %. Each size and operation runs in a
process of its own, one thread; "extra" is the peak of the resident set over what the weights (and,
for masking, gradients and masks) take. Figures per weight stay the same where pruning is linear.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
from common import apart, base_shapes, report, spread
from storage import matrices, read_ours, write_ours

from fairseq_lottery.masks import Mask, find_score, score_all, select
from fairseq_lottery.training.optimizers import zero_pruned_

SPARSITY = 0.9


def selecting(weights):
    score, _ = find_score("magnitude")
    full = Mask.full({name: tuple(w.shape) for name, w in weights.items()})
    scores = score_all(score, weights)
    return lambda: select(scores, full, SPARSITY, "global")


def masking(weights):
    rows = [(w, w.clone(), (w != 0).to(torch.uint8)) for w in weights.values()]

    def after_an_update():
        for weight, gradient, keep in rows:
            zero_pruned_(gradient, keep)
            zero_pruned_(weight, keep)

    return after_an_update


def writing(weights):
    return lambda: write_ours(weights, FILE)


def reading(weights):
    write_ours(weights, FILE)
    weights.clear()
    return lambda: read_ours(FILE)


OPERATIONS = {
    "selection, global": selecting,
    "masking an update": masking,
    "writing a compact file": writing,
    "reading it": reading,
}
FILE = Path(tempfile.gettempdir()) / "fairseq-lottery-scale.safetensors"


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name, layers, repeats):
    torch.set_num_threads(1)
    dense = name == "selection, global"
    weights = dict(matrices(layers, 0.0 if dense else SPARSITY, False))
    number = sum(weight.numel() for weight in weights.values())
    run = OPERATIONS[name](weights)
    before, seconds = resident(), []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"weights": number, "seconds": seconds, "extra": resident() - before}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sizes", default="10,30,100,300,1000", help="millions of weights")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    a_layer = sum(rows * columns for rows, columns in base_shapes(1).values())
    table, found = [], []
    for name in OPERATIONS:
        for size in map(float, args.sizes.split(",")):
            row = apart(measure, name, max(1, round(size * 1e6 / a_layer)), args.repeats)
            found.append({"operation": name, **row})
            nanoseconds = 1e9 * statistics.median(row["seconds"]) / row["weights"]
            extra = f"{row['extra'] / 1e6:.0f}", f"{row['extra'] / row['weights']:.2f}"
            table.append(
                [name, f"{row['weights']:,}", spread(row["seconds"]), f"{nanoseconds:.2f}", *extra]
            )
    FILE.unlink(missing_ok=True)
    header = ["operation", "weights", "seconds [min, max]", "ns each", "extra MB", "bytes each"]
    report(f"Pruning at {SPARSITY:.0%}, one thread", header, table, {"rows": found}, args.json)


if __name__ == "__main__":
    main()
