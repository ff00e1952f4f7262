"""Bytes and seconds of storing a pruned Transformer, against its bound and its peers.

    python benchmarks/storage.py [--layers 6] [--json]

Every form holds the same matrices, in a file that is written and read again in one thread, each
in a process of its own. Random weights under random masks: of trained ones the exponents are more
alike, and take less. "of the bound" is against n H(p) bits of masks and 32 bits a survivor, or one
bit where only signs are kept.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zstandard
from common import apart, base_shapes, report, spread

from fairseq_lottery.formats import container
from fairseq_lottery.formats.compact_model import KIND, from_state, load_model
from fairseq_lottery.formats.mask_state import mask_of_zeros
from fairseq_lottery.tickets.size import sizes

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98)


def matrices(layers, sparsity, signs):
    """Name -> weight with a share of exact zeros; of survivors that are signs, one magnitude."""
    generator = torch.Generator().manual_seed(1)
    for name, shape in base_shapes(layers).items():
        weight = torch.randn(shape, generator=generator) * 0.05
        weight = weight.sign() * 0.05 if signs else weight
        # filled and not multiplied: a negative zero is a value, which comes back to the bit
        yield name, weight.masked_fill_(torch.rand(shape, generator=generator) < sparsity, 0.0)


def write_ours(weights, path):
    container.save(path, KIND, *from_state({"model": weights}), compact=True)


def read_ours(path):
    load_model(path)


def write_dense(weights, path):
    torch.save(weights, path)


def read_dense(path):
    torch.load(path, weights_only=True)


def write_csr(weights, path):
    rows = {}
    for name, weight in weights.items():
        sparse = weight.to_sparse_csr()
        rows[name] = (sparse.crow_indices().int(), sparse.col_indices().int(), sparse.values())
    torch.save(rows, path)


def read_csr(path):
    for crow, col, values in torch.load(path, weights_only=True).values():
        torch.sparse_csr_tensor(crow, col, values, check_invariants=False).to_dense()


def write_bits(weights, path):
    compress = zstandard.ZstdCompressor(level=3).compress
    with open(path, "wb") as file:
        for weight in weights.values():
            keep = weight != 0
            for part in (np.packbits(keep.numpy()), weight[keep].numpy()):
                piece = compress(part.tobytes())
                file.write(len(piece).to_bytes(8, "little") + piece)


def read_bits(path):
    decompress = zstandard.ZstdDecompressor().decompress
    with open(path, "rb") as file:
        while length := file.read(8):
            decompress(file.read(int.from_bytes(length, "little")))


FORMS = {
    "fairseq_lottery compact": (write_ours, read_ours),
    "torch.save, dense": (write_dense, read_dense),
    "torch.save, CSR int32": (write_csr, read_csr),
    "packed bits + zstd": (write_bits, read_bits),
}


def measure(form, layers, sparsity, signs, repeats):
    torch.set_num_threads(1)
    weights = dict(matrices(layers, sparsity, signs))
    write, read = FORMS[form]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"write": [], "read": []}
    with tempfile.TemporaryDirectory() as folder:
        # by its suffix torch.load knows a safetensors file
        path = Path(folder) / ("file.safetensors" if write is write_ours else "file.pt")
        for _ in range(repeats):
            for what, action in (("write", write), ("read", lambda _, path: read(path))):
                start = time.perf_counter()
                action(weights, path)
                found[what].append(time.perf_counter() - start)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        size = sizes(path, weights, mask_of_zeros(weights, lambda weight: weight != 0))
    number = sum(weight.numel() for weight in weights.values())
    return {**found, **size, "extra_mb": peak, "weights": number}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6, help="6, 44 M weights, is base")
    parser.add_argument("--sparsities", default=",".join(map(str, SPARSITIES)))
    args = parser.parse_args()
    rows, found = [], []
    for signs in (False, True):
        for sparsity in map(float, args.sparsities.split(",")):
            for form in FORMS:
                row = apart(measure, form, args.layers, sparsity, signs, args.repeats)
                kept = "signs" if signs else "values"
                found.append({"form": form, "sparsity": sparsity, "kept": kept, **row})
                times = [spread(row[what]) for what in ("write", "read")]
                size = [f"{row['bytes'] / 1e6:.2f}", f"{row['bytes'] / row['bound_bytes']:.3f}"]
                extra = f"{row['extra_mb']:.0f}"
                rows.append([kept, f"{sparsity:.0%}", form, *size, *times, extra])
    torch.set_num_threads(1)
    title = f"Storing {found[0]['weights']:,} weights, one thread"
    header = ["kept", "sparsity", "form", "MB", "of the bound", "write s", "read s", "extra MB"]
    ours = [row for row in found if row["form"] == "fairseq_lottery compact"]
    worst = max(statistics.median(row[what]) for row in ours for what in ("write", "read"))
    report(title, header, rows, {"rows": found, "slowest_of_ours_s": worst}, args.json)


if __name__ == "__main__":
    main()
