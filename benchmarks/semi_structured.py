"""What 2:4 masks give on a GPU with sparse tensor cores, and what unstructured ones do not.

    python benchmarks/semi_structured.py [--json] [--dtypes float16,bfloat16] [--rows 64,512,4096]
                                         [--graph]

``F.linear`` of the attention and FFN matrices of Transformer base and big, as one layer after the
other calls it, with dense weights, the same weights under a 90 % mask per matrix, and under a 2:4
mask by the kernels that torch has for it. Each is called many times in a row between two events
of the GPU, in turn (A B C, C B A, ...); the ratio is taken round by round. With --graph the calls
are replayed from a CUDA graph, so that only the GPU's own time is left. Every product is compared
with that of its dense weights first. Without such a GPU nothing is measured.
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
DENSE, UNSTRUCTURED = "dense", "90 %, unstructured"


def why_not():
    """Why nothing can be measured here, in one sentence; None where it can."""
    if not hasattr(torch.sparse, "to_sparse_semi_structured"):
        return f"torch {torch.__version__} has no semi-structured weights; take 2.1 or newer"
    if not torch.cuda.is_available():
        return "torch finds no CUDA GPU, and sparse tensor cores are on GPUs; run this on one"
    if torch.cuda.get_device_capability() < (8, 0):
        return f"{torch.cuda.get_device_name()} has no sparse tensor cores (compute capability 8.0)"
    return None


def patterns():
    """torch's kernels for 2:4 that this GPU has; ``to_sparse_semi_structured`` takes the first."""
    known = ["2:4, cuSPARSELt", "2:4, CUTLASS"]
    return known if torch.cuda.get_device_capability()[0] == 8 else known[:1]


def semi_structured_class(name):
    """torch's class of one of ``patterns()``."""
    return getattr(torch.sparse, f"SparseSemiStructuredTensor{name[5:].upper()}")


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
    found = {DENSE: dense, UNSTRUCTURED: pruned(dense, 0.9, "layer")}
    expected = functional.linear(inputs, masked).float()
    for name in patterns():
        found[name] = semi_structured_class(name).from_dense(masked)
        product = functional.linear(inputs, found[name]).float()
        if not torch.allclose(product, expected, rtol=2e-2, atol=2e-2 * float(expected.std())):
            raise SystemExit(f"the products of {shape} in {dtype} differ; nothing was measured")
    return found, inputs


def caller(inputs, weight, calls, graph):
    """A function that makes the product so many times."""

    def call():
        for _ in range(calls):
            functional.linear(inputs, weight)

    call()  # the first calls choose kernels
    if not graph:
        return call
    torch.cuda.synchronize()
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        call()
    return recorded.replay


def seconds(call):
    """Of one round of calls, by the GPU's clock."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def measure(shape, dtype, rows, args):
    """Name -> seconds of one call in each round."""
    weights, inputs = variants(shape, dtype, rows)
    callers = {name: caller(inputs, w, args.calls, args.graph) for name, w in weights.items()}
    for call in callers.values():
        call()
    found = {name: [] for name in callers}
    for turn in range(args.rounds):
        for name in list(callers) if turn % 2 else list(reversed(callers)):
            found[name].append(seconds(callers[name]) / args.calls)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dtypes", default="float16,bfloat16")
    parser.add_argument("--models", default=",".join(SHAPES))
    parser.add_argument("--rows", default="64,512,4096,16384", help="tokens of a batch")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--graph", action="store_true", help="replayed from a CUDA graph")
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
            taken = measure(shape, getattr(torch, dtype), rows, args)
        for kind, values in taken.items():
            ratios = [a / b for a, b in zip(values, taken[DENSE])]
            what = {"model": name, "type": dtype, "shape": "{} x {}".format(*shape), "rows": rows,
                    "weights": kind}  # fmt: skip
            micro = [1e6 * value for value in values]
            table.append([*what.values(), spread(micro), spread(ratios)])
            found.append({**what, "seconds": values, "ratios": ratios})
    gpu = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    title = f"F.linear on {gpu}, {args.calls} calls in a row{' from a graph' * args.graph}"
    header = ["model", "type", "outputs x inputs", "rows", "weights", "microseconds [min, max]",
              "ratio to dense"]  # fmt: skip
    record = {"gpu": gpu, "calls": args.calls, "rows": found}
    report(title, header, table, record, args.json)


if __name__ == "__main__":
    main()
