"""What 2:4 masks give on a GPU with sparse tensor cores, and what unstructured ones do not.

    python benchmarks/semi_structured.py [--json] [--dtypes float16,bfloat16] [--rows 64,512,4096]

``F.linear`` of the attention and FFN matrices of Transformer base and big, as one layer after the
other calls it, with dense weights, the same weights under a 90 % mask per matrix, and under a 2:4
mask after ``torch.sparse.to_sparse_semi_structured``. Each is called many times in a row between
two events of the GPU, in turn (A B C, C B A, ...); the ratio is taken round by round. Every
product is compared with that of its dense weights first. Without such a GPU nothing is measured.
"""

import argparse
import sys
from itertools import product

import torch
from common import report, spread
from torch.nn import functional

from fairseq_lottery.masks import Mask, find_score, score_all, select

#: outputs and inputs of a matrix: projections and the two of an FFN (Vaswani et al. 2017, table 3)
SHAPES = {
    "base": ((512, 512), (2048, 512), (512, 2048)),
    "big": ((1024, 1024), (4096, 1024), (1024, 4096)),
}
DENSE, UNSTRUCTURED, PATTERN = "dense", "90 %, unstructured", "2:4, semi-structured"


def why_not():
    """Why nothing can be measured here, in one sentence; None where it can."""
    if not hasattr(torch.sparse, "to_sparse_semi_structured"):
        return f"torch {torch.__version__} has no semi-structured weights; take 2.1 or newer"
    if not torch.cuda.is_available():
        return "torch finds no CUDA GPU, and sparse tensor cores are on GPUs; run this on one"
    if torch.cuda.get_device_capability() < (8, 0):
        return f"{torch.cuda.get_device_name()} has no sparse tensor cores (compute capability 8.0)"
    return None


def pruned(weight, sparsity, scope):
    """The weight under the mask that a ticket's draw gives it."""
    score, _ = find_score("magnitude")
    weights = {"weight": weight.float().cpu()}
    full = Mask.full({"weight": tuple(weight.shape)})
    mask = select(score_all(score, weights), full, sparsity, scope)
    return weight * mask["weight"].to(weight.device)


def variants(shape, dtype, rows):
    """Name -> weights as they are called, and inputs; products are checked."""
    generator = torch.Generator().manual_seed(1)
    dense = torch.randn(shape, generator=generator).mul_(0.05).to("cuda", dtype)
    inputs = torch.randn((rows, shape[1]), generator=generator).to("cuda", dtype)
    masked = pruned(dense, 0.5, "2:4")
    found = {
        DENSE: dense,
        UNSTRUCTURED: pruned(dense, 0.9, "layer"),
        PATTERN: torch.sparse.to_sparse_semi_structured(masked),
    }
    sparse, expected = (functional.linear(inputs, w).float() for w in (found[PATTERN], masked))
    if not torch.allclose(sparse, expected, rtol=2e-2, atol=2e-2 * float(expected.std())):
        raise SystemExit(f"the products of {shape} in {dtype} differ; nothing was measured")
    return found, inputs


def seconds(inputs, weight, calls):
    """Of one call, out of many in a row."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(calls):
        functional.linear(inputs, weight)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / calls


def measure(shape, dtype, rows, rounds, calls):
    """Name -> seconds of each round."""
    weights, inputs = variants(shape, dtype, rows)
    for weight in weights.values():
        seconds(inputs, weight, calls)  # the first calls choose kernels
    found = {name: [] for name in weights}
    for turn in range(rounds):
        for name in list(weights) if turn % 2 else list(reversed(weights)):
            found[name].append(seconds(inputs, weights[name], calls))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dtypes", default="float16,bfloat16")
    parser.add_argument("--models", default=",".join(SHAPES))
    parser.add_argument("--rows", default="64,512,4096,16384", help="tokens of a batch")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--calls", type=int, default=100)
    args = parser.parse_args()
    reason = why_not()
    if reason is not None:
        print(f"semi_structured.py: {reason}", file=sys.stderr)
        raise SystemExit(2)
    names, dtypes = args.models.split(","), args.dtypes.split(",")
    cases = [(name, shape) for name in names for shape in SHAPES[name]]
    table, found = [], []
    for (name, shape), dtype, rows in product(cases, dtypes, map(int, args.rows.split(","))):
        with torch.inference_mode():
            taken = measure(shape, getattr(torch, dtype), rows, args.rounds, args.calls)
        for kind, values in taken.items():
            ratios = [a / b for a, b in zip(values, taken[DENSE])]
            what = {"model": name, "type": dtype, "shape": "{} x {}".format(*shape), "rows": rows,
                    "weights": kind}  # fmt: skip
            micro = [1e6 * value for value in values]
            table.append([*what.values(), spread(micro), spread(ratios)])
            found.append({**what, "seconds": values, "ratios": ratios})
    gpu = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    title = f"F.linear on {gpu}, {args.calls} calls in a row"
    header = ["model", "type", "outputs x inputs", "rows", "weights", "microseconds [min, max]",
              "ratio to dense"]  # fmt: skip
    record = {"gpu": gpu, "calls": args.calls, "rows": found}
    report(title, header, table, record, args.json)


if __name__ == "__main__":
    main()
