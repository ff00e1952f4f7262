"""Similarities of two Transformers base: how long, how much memory, and how does it grow?

    cd benchmarks && python similarity.py [--json] [--words 2500,5000,10000] [--pair-words 10000]

The first table compares a pair of layers of 512 neurons with the formulas written out in numpy, in
double precision, and with public packages where they are installed: ckatorch for CKA of at most
4,000 words, statsmodels for the canonical correlations of SVCCA. All ways take turns, and their
values agree. Ours includes the sums that all measures share. The second table records a dense model
of random weights and one with 80 % of them pruned, and compares all their layers and heads by all
measures, each step in a process of its own. A quarter of the subwords continue in the next one.
On a busy machine, set OMP_NUM_THREADS=1: threads that wait for a core spoil all figures.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from common import apart, in_turn, report, spread

WIDTH, TYPES, SENTENCE = 512, 32000, 25
SPARSITY = 0.8


def activations(words):
    """Two layers that share half of their variance, in single precision."""
    chance = np.random.default_rng(1)
    signal = chance.normal(size=(words, WIDTH)) * np.geomspace(10, 0.1, WIDTH)
    mixed = (signal @ chance.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5 for _ in range(2))
    return [np.float32(x + chance.normal(size=x.shape) + 3) for x in mixed]


def scaled(x):
    x = x.astype(np.float64)
    return (x - x.mean(axis=0)) / x.std(axis=0)


def numpy_cka(x, y):
    x, y = (z.astype(np.float64) - z.mean(axis=0, dtype=np.float64) for z in (x, y))
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return np.linalg.norm(y.T @ x) ** 2 / scale


def reduced(x):
    left, values, _ = np.linalg.svd(scaled(x), full_matrices=False)
    kept = int((np.cumsum(values**2) / np.sum(values**2) < 0.99).sum()) + 1
    return left[:, :kept]


def numpy_svcca(x, y):
    return np.linalg.svd(reduced(x).T @ reduced(y), compute_uv=False).mean()


def numpy_pwcca(x, y):
    first = reduced(x)
    left, values, _ = np.linalg.svd(first.T @ reduced(y), full_matrices=False)
    weights = np.abs((first @ left).T @ x.astype(np.float64)).sum(axis=1)
    return (weights * values).sum() / weights.sum()


def numpy_neurons(x, y):
    return np.abs(scaled(x).T @ scaled(y) / len(x)).max(axis=1).mean()


def numpy_mixed(x, y):
    x, y = scaled(x), scaled(y)
    fit = y @ np.linalg.lstsq(y, x, rcond=None)[0]
    return (np.linalg.norm(fit, axis=0) / np.linalg.norm(x, axis=0)).mean()


def package_ways(words):
    """Name of a measure -> name of a package and its way, where the package is installed."""
    ways = {}
    try:
        if words > 4000:  # it multiplies matrices of words x words
            raise ImportError
        import torch
        from ckatorch.core import cka_base

        ways["linear CKA"] = (
            "ckatorch",
            lambda x, y: float(cka_base(torch.from_numpy(x), torch.from_numpy(y))),
        )
    except ImportError:
        pass
    try:
        from statsmodels.multivariate.cancorr import CanCorr

        ways["SVCCA"] = "statsmodels", lambda x, y: CanCorr(reduced(x), reduced(y)).cancorr.mean()
    except ImportError:
        pass
    return ways


def of_one_pair(words, repeats):
    """Rows and record of the first table."""
    from fairseq_lottery.analysis.similarity.alignment import linear_cka
    from fairseq_lottery.analysis.similarity.canonical import canonical
    from fairseq_lottery.analysis.similarity.moments import LayerPair
    from fairseq_lottery.analysis.similarity.neurons import mixed_sim, neuron_sim

    ours = {
        "linear CKA": (linear_cka, numpy_cka),
        "SVCCA": (lambda pair: canonical(pair).svcca, numpy_svcca),
        "PWCCA": (lambda pair: canonical(pair).pwcca, numpy_pwcca),
        "NeuronSim": (neuron_sim, numpy_neurons),
        "MixedSim": (mixed_sim, numpy_mixed),
    }
    x, y = activations(words)
    packages = package_ways(words)
    rows, record = [], {}
    for name, (measure, direct) in ours.items():
        ways = {
            "ours": lambda measure=measure: measure(LayerPair.of(x, y)),
            "numpy": lambda direct=direct: direct(x, y),
        }
        package, way = packages.get(name, (None, None))
        if way:
            ways[package] = lambda way=way: way(x, y)
        values, seconds = in_turn(ways, repeats)
        for value in values.values():
            assert abs(value - values["ours"]) < 1e-6, (name, values)
        ratios = [b / a for a, b in zip(seconds["ours"], seconds["numpy"])]
        beside = f"{package} {spread(seconds[package])}" if way else "-"
        rows.append([name, f"{values['ours']:.4f}", spread(seconds["ours"]),
                     spread(seconds["numpy"]), spread(ratios), beside])  # fmt: skip
        record[name] = {"values": values, "seconds": seconds}
    return rows, record


def prepare(folder, words):
    """Write two models and a data folder of so many source words, and return the models."""
    import torch
    from decoding import transformer
    from fairseq.data import Dictionary
    from fairseq.data.indexed_dataset import make_builder

    from fairseq_lottery.formats import Dictionaries, save_snapshot, trainable

    symbols = [f"w{n}" if n % 4 else f"w{n}@@" for n in range(TYPES - 4)]
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    generator = torch.Generator().manual_seed(1)
    for language in ("en", "de"):
        dictionary.save(str(folder / f"dict.{language}.txt"))
        prefix = f"{folder}/valid.en-de.{language}"
        builder = make_builder(f"{prefix}.bin", "mmap", vocab_size=len(dictionary))
        for _ in range(words // SENTENCE * 4 // 3 + 40):
            length = int(torch.randint(SENTENCE // 2, SENTENCE * 3 // 2, (1,), generator=generator))
            tokens = torch.randint(4, TYPES, (length,), generator=generator)
            builder.add_item(torch.cat([tokens, torch.tensor([2])]).int())
        builder.finalize(f"{prefix}.idx")
    models = []
    for sparsity in (0.0, SPARSITY):
        model, _ = transformer(dictionary, sparsity)
        settings = {"arch": "transformer", "share_all_embeddings": True}
        record = {"update": 0, "masters": True, "architecture": settings}
        path = folder / f"{sparsity}.safetensors"
        dictionaries = Dictionaries(dict.fromkeys(("source", "target"), tuple(symbols)))
        save_snapshot(path, dict(trainable(model)), None, dictionaries, record)
        models.append(path)
    return models


def timed(step, *arguments):
    """Seconds by the clock and of the processors, and the process's peak of memory in GB."""
    start, cpu = time.perf_counter(), time.process_time()
    more = step(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return time.perf_counter() - start, time.process_time() - cpu, peak, more


def record_model(model, folder, words, out):
    from fairseq_lottery.analysis import read_corpus, record
    from fairseq_lottery.inference.loaded_model import load_for_evaluation

    loaded = load_for_evaluation(model, str(folder), cpu=True)
    return record(loaded, read_corpus(loaded, words=words), out).record.counts


def compare(first, second):
    from fairseq_lottery.analysis.similarity.compare import compare_models

    results = compare_models(first, second)
    assert not results.inputs["left_out"]
    return len(results.rows)


def of_models(words):
    """Rows and record of the second table for a number of words."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = apart(prepare, folder, words)
        outs = [folder / f"recording{number}" for number in range(2)]
        steps = {
            "recording a model": (record_model, models[0], folder, words, outs[0]),
            "recording the other": (record_model, models[1], folder, words, outs[1]),
            "all similarities": (compare, *outs),
        }
        taken = {step: apart(timed, *arguments) for step, arguments in steps.items()}
    taken["all of it"] = (
        *(sum(column) for column in list(zip(*taken.values()))[:2]),
        max(peak for _, _, peak, _ in taken.values()), None,
    )  # fmt: skip
    rows = [
        [words, step, f"{wall:.1f}", f"{cpu:.1f}", f"{1000 * cpu / words:.2f}", f"{peak:.2f}"]
        for step, (wall, cpu, peak, _) in taken.items()
    ]
    return rows, taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--words", default="2500,5000,10000")
    parser.add_argument("--pair-words", type=int, default=10000, help="of the first table")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers-only", action="store_true", help="only the first table")
    args = parser.parse_args()
    sizes = sorted(int(size) for size in args.words.split(","))
    rows, record = apart(of_one_pair, args.pair_words, args.repeats)
    title = f"Seconds for a pair of layers, {args.pair_words} words x {WIDTH} neurons"
    header = ["measure", "value", "ours", "numpy", "numpy / ours", "package"]
    if not args.json:
        report(title, header, rows, {}, False)
        print(flush=True)
    whole = {} if args.layers_only else {words: of_models(words) for words in sizes}
    table = [row for rows, _ in whole.values() for row in rows]
    if args.json:
        taken = {words: steps for words, (_, steps) in whole.items()}
        report(title, header, rows, {"pair": record, "models": taken}, True)
    elif table:
        header = ["words", "step", "seconds", "of processors", "ms a word", "peak GB"]
        report("Transformer base, 6 + 6 layers, 8 heads", header, table, {}, False)
        ratios = [
            statistics.median(
                float(row[3]) for row in table if row[:2] == [words, "all similarities"]
            )
            for words in sizes
        ]
        print(f"\nsimilarities, processor time: x {ratios[-1] / ratios[0]:.2f} for x"
              f" {sizes[-1] / sizes[0]:.1f} the words")  # fmt: skip


if __name__ == "__main__":
    main()
