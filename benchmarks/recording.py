"""Time and memory of a recording of Transformer base, beside fairseq's own pass over the corpus.

    python benchmarks/recording.py [--json] [--words 2500 10000 40000]

Random weights, 37,000 types of which half start a word, random sentences of 9 to 41 pieces. The
peer is the model alone on the same batches, with fairseq's fused attention. Each size runs in a
process of its own, so that the peak of its memory is its own; it is what the recording adds to the
loaded model.
"""

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from common import apart, report
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.models.transformer import TransformerModel, base_architecture

from fairseq_lottery.adapters import TRANSLATION
from fairseq_lottery.analysis.recording.corpus import read_corpus
from fairseq_lottery.analysis.recording.recorder import record
from fairseq_lottery.inference.loaded_model import batches

TYPES, TOKENS = 37_000, 4096


def loaded(sentences):
    """A stand-in for a loaded file: random weights, random pairs of sentences."""
    words = Dictionary()
    for number in range(TYPES - words.nspecial):
        words.add_symbol(f"\u2581{number}" if number % 2 else f"{number}")

    class Task:
        source_dictionary = target_dictionary = words

    args = argparse.Namespace(share_all_embeddings=True)
    base_architecture(args)
    torch.manual_seed(1)
    model = TransformerModel.build_model(args, Task).eval()
    chance = np.random.default_rng(1)
    lengths = chance.integers(9, 42, (2, sentences))
    sides = [
        [
            torch.tensor([*chance.integers(words.nspecial, TYPES, length), words.eos()])
            for length in of_side
        ]
        for of_side in lengths
    ]
    data = LanguagePairDataset(
        sides[0], lengths[0] + 1, words, sides[1], lengths[1] + 1, words, shuffle=False
    )
    return SimpleNamespace(
        model=model,
        device=torch.device("cpu"),
        source=SimpleNamespace(path="base.pt", digest=lambda: "0" * 64, adapter=TRANSLATION),
        evaluation=SimpleNamespace(
            dictionaries={"source": words, "target": words}, folder="data", contents="pairs",
            load=lambda subset: data, adapter=TRANSLATION,
        ),
    )  # fmt: skip


def peak():
    """Largest resident set of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(words, repeats):
    """Seconds and megabytes of a recording, and seconds of the model alone."""
    file = loaded(sentences=words // 10)
    corpus = read_corpus(file, words=words)
    selected = corpus.examples_of([one.number for one in corpus.sentences])
    alone, recorded = [], []
    with torch.no_grad():
        file.model(**next(iter(batches(selected, TOKENS, file.device)))["net_input"])
        before = peak()
        for _ in range(repeats):
            start = time.perf_counter()
            for batch in batches(selected, TOKENS, file.device):
                file.model(**batch["net_input"])
            alone.append(time.perf_counter() - start)
            folder = Path(tempfile.mkdtemp())
            start = time.perf_counter()
            record(file, corpus, folder / "recording", TOKENS)
            recorded.append(time.perf_counter() - start)
            size = sum(f.stat().st_size for f in (folder / "recording").iterdir()) / 2**20
            shutil.rmtree(folder)
    return {
        "words": corpus.counts["source"], "alone": alone, "recorded": recorded,
        "before_mb": before, "rise_mb": peak() - before, "files_mb": size,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, nargs="+", default=[2500, 10_000, 40_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = [apart(measured, words, args.repeats) for words in args.words]
    rows = [
        [
            one["words"],
            f"{np.median(one['alone']):.1f}",
            f"{np.median(one['recorded']):.1f} [{min(one['recorded']):.1f},"
            f" {max(one['recorded']):.1f}]",
            f"{np.median(np.divide(one['recorded'], one['alone'])):.2f}",
            f"{one['rise_mb']:.0f}",
            f"{one['files_mb']:.0f}",
        ]
        for one in results
    ]
    header = ["source words", "model alone, s", "recording, s", "ratio", "memory, MB", "files, MB"]
    report("Recording Transformer base", header, rows, {"results": results}, args.json)


if __name__ == "__main__":
    main()
