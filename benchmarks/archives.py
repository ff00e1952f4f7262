"""Reading a released archive: seconds and peak of memory of ``read_source`` and ``torch.load``.

    python benchmarks/archives.py [--models roberta.base mbart.cc25] [--repeats 3] [--json]

Stand-ins of random weights with the sizes and the layout of the releases. Each way reads in a
process of its own, in turn, and sums every tensor once, because a memory-mapped file is read only
where its numbers are used. ``torch.load`` has its safe loader, without our validation.
"""

import argparse
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

from common import apart, report, spread

TESTS = Path(__file__).resolve().parent.parent / "tests"
#: the dictionary, the width, the inner width and the heads of the releases
SIZES = {
    "roberta.base": (50_260, 768, 3072, 12),
    "mbart.cc25": (249_997, 1024, 4096, 16),
}


def write(name, folder):
    """Write a stand-in of the size of a release; return its number of parameters and bytes."""
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(TESTS))
    import fairseq  # noqa: F401 - before the plugin
    import released

    symbols, width, inner, heads = SIZES[name]
    words = tuple(f"w{number}" for number in range(symbols))
    sizes = {"embed_dim": width, "ffn_embed_dim": inner, "attention_heads": heads, "layers": 12}
    if name.startswith("roberta"):
        changes = {f"encoder_{key}": value for key, value in sizes.items()}
        _, model = released.write_roberta(folder, words, **changes)
    else:
        changes = {f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in sizes.items()}
        langs = ",".join(f"l{number}_XX" for number in range(25))
        _, model = released.write_mbart(folder, words, zipped=True, langs=langs, **changes)
    count = sum(parameter.numel() for parameter in model.parameters())
    return count, (Path(folder) / "model.pt").stat().st_size


def read(way, folder):
    """Read with one way; return seconds and the increase of the peak in bytes."""
    warnings.simplefilter("ignore")
    import fairseq
    import torch

    from fairseq_lottery.formats import read_source
    from fairseq_lottery.formats.checkpoints.safe_load import safe_classes

    assert fairseq
    torch.serialization.add_safe_globals(safe_classes())
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if way == "read_source":
        source = read_source(folder)
        weights = source.weights
    else:
        mapped = way == "torch.load, mapped"
        path = Path(folder) / "model.pt"
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)["model"]
    sum(float(weight.sum(dtype=torch.float64)) for weight in weights.values())
    seconds = time.perf_counter() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows, results = [], []
    for name in args.models:
        with tempfile.TemporaryDirectory() as folder:
            count, size = apart(write, name, folder)
            ways = ["read_source", "torch.load"]
            if name == "mbart.cc25":  # torch maps only zip archives
                ways.append("torch.load, mapped")
            runs = {way: [] for way in ways}
            for _ in range(args.repeats):
                for way in ways:
                    runs[way].append(apart(read, way, folder))
        results.append({"model": name, "parameters": count, "bytes": size, "runs": runs})
        for way, measured in runs.items():
            seconds, peaks = zip(*measured)
            peak = f"{max(peaks) / 1e6:,.0f}"
            rows.append([name, f"{count:,}", f"{size / 1e6:,.0f}", way, spread(seconds), peak])
    header = ["model", "parameters", "file, MB", "way", "seconds", "peak, MB"]
    report("Reading a released archive", header, rows, {"results": results}, args.json)


if __name__ == "__main__":
    main()
