"""Whole beam search of a Transformer base on a GPU: fairseq's generator, and with --sparse-decode.

    cd benchmarks && python gpu_generator.py [--json] [--batches 1,16] [--dtypes float32,float16]

Random dense weights, 37,000 types, sentences of 25 tokens, translations of exactly 26. Both search
with the same weights in the same precision, and take turns; the first run of each has other kernels
to choose, and is listed apart. "Calls" counts operations of torch, without views and without those
that compute nothing: a small batch on a GPU waits for their start. They can be counted anywhere
(--device cpu); times are of a GPU.
"""

import argparse
import copy
import sys

import torch
from common import report, seconds_in_turn, seconds_of, spread
from decoding import TARGET, Fairseq, random_sentences, transformer, vocabulary
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq_lottery.decoding.accelerated_generator import accelerate_generator
from fairseq_lottery.decoding.fused_decoder import FusedDecoder

#: parts of the names of operations that compute nothing, or read one number
NOT_COUNTED = ("empty", "_unsafe_view", "_local_scalar_dense", "profiler")


class Calls(TorchDispatchMode):
    """Counts operations that compute something, without those that only return views."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        returned = [one.alias_info for one in function._schema.returns]
        is_view = any(alias is not None and not alias.is_write for alias in returned)
        self.count += not is_view and not any(part in str(function) for part in NOT_COUNTED)
        return function(*args, **(kwargs or {}))


def calls_of(run):
    with Calls() as calls:
        run()
    return calls.count


def measured(args, batch, dtype, model, words):
    """Seconds, calls and equal translations of both ways."""
    sentences = random_sentences(words, batch).to(args.device)
    model = copy.deepcopy(model).to(args.device, getattr(torch, dtype))
    ways = {
        way: Fairseq(model, words, args.beam, sentences) for way in ("fairseq", "--sparse-decode")
    }
    accelerate_generator(ways["--sparse-decode"].generator, FusedDecoder)
    first, found = {}, {}
    for way, run in ways.items():
        first[way] = seconds_of(lambda way=way, run=run: found.update({way: run()}), args.device)
    seconds = seconds_in_turn(ways, args.repeats, args.device)
    calls = {way: calls_of(run) for way, run in ways.items()}
    same = sum(a == b for a, b in zip(*found.values()))
    ratios = [a / b for a, b in zip(*seconds.values())]
    return {
        "batch": batch, "dtype": dtype, "seconds": seconds, "ratios": ratios, "first": first,
        "calls": calls, "same": same,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--batches", default="1,16,128", help="sentences at once")
    parser.add_argument("--dtypes", default="float32,float16")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--types", type=int, default=37_000)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU; give --device cpu to count calls", file=sys.stderr)
        raise SystemExit(2)
    words = vocabulary(args.types)
    model, _ = transformer(words, 0.0)
    results = [
        measured(args, batch, dtype, model, words)
        for dtype in args.dtypes.split(",")
        for batch in map(int, args.batches.split(","))
    ]
    rows = [
        [
            one["dtype"],
            one["batch"],
            *(spread(taken) for taken in one["seconds"].values()),
            spread(one["ratios"]),
            "{:.3g} and {:.3g}".format(*one["first"].values()),
            "{:,} and {:,}".format(*one["calls"].values()),
            f"{one['same']} of {one['batch']}",
        ]
        for one in results
    ]
    title = f"Beam {args.beam}, {TARGET} forced tokens, {args.types} types, {args.device}"
    if args.device == "cuda":
        title += f": {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    header = ["precision", "sentences"]
    header += [f"{way}, s" for way in results[0]["seconds"]]
    header += ["fairseq / ours", "first runs, s", "calls", "same"]
    report(title, header, rows, {"results": results}, args.json)


if __name__ == "__main__":
    main()
