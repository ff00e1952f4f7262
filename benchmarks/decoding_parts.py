"""Where the time of a compiled decode goes, by parts and with and without weights.

    python benchmarks/decoding_parts.py [--sparsities 0.9,0.98] [--threads 1]

The model and the sentences are those of ``decoding.py``. A model without weights has the same
search, but its products have nothing to add: the difference is the time of the products.
"""

import statistics
import time
from collections import defaultdict

import torch
from common import report
from decoding import Fairseq, options, random_sentences, transformer, vocabulary, without_weights

from fairseq_lottery.decoding.compiled_decoder import CompiledDecoder
from fairseq_lottery.decoding.decoder import Session


class Clock:
    """Seconds spent in functions, by the title of the part."""

    def __init__(self):
        self.seconds = defaultdict(float)

    def timed(self, title, function):
        def call(*arguments, **options):
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds[title] += time.perf_counter() - start
            return result

        return call


def parts(model, words, args, clock):
    """Return title -> median seconds of a part in one decode."""
    way = Fairseq(model, words, args.beam, random_sentences(words, args.batch), fast=True)
    generator = way.generator
    forward = generator.model.forward_encoder
    generator.model.forward_encoder = clock.timed("encoder", forward)
    way()
    found = defaultdict(list)
    for _ in range(args.repeats):
        clock.seconds.clear()
        start = time.perf_counter()
        way()
        clock.seconds["whole"] = time.perf_counter() - start
        for title, seconds in clock.seconds.items():
            found[title].append(seconds)
    return {title: statistics.median(seconds) for title, seconds in found.items()}


def main():
    args = options(__doc__, "0.9,0.98").parse_args()
    torch.set_num_threads(args.threads)
    words = vocabulary(args.types)
    clock = Clock()
    best_tokens = clock.timed("best tokens", CompiledDecoder.best_tokens)
    CompiledDecoder.best_tokens = staticmethod(best_tokens)
    for owner, name, title in (
        (CompiledDecoder, "start", "source"),
        (Session, "step", "step"),
        (Session, "_embed", "embedding"),
    ):
        setattr(owner, name, clock.timed(title, getattr(owner, name)))
    models = {"no weights": without_weights(transformer(words, 0.0)[0])}
    for sparsity in map(float, args.sparsities.split(",")):
        models[f"{sparsity:.0%}"] = transformer(words, sparsity)[0]
    columns = {title: parts(model, words, args, clock) for title, model in models.items()}
    for found in columns.values():
        found["step"] -= found["embedding"]
        measured = ("encoder", "source", "embedding", "step", "best tokens")
        found["rest"] = found["whole"] - sum(found[title] for title in measured)
    titles = {
        "encoder": "encoder",
        "source": "keys and values of the source",
        "embedding": "embedding",
        "step": "layers of the decoder",
        "best tokens": "output projection and best tokens",
        "rest": "search in Python",
        "whole": "whole decode",
    }
    rows = [
        [text, *(f"{1e3 * found[title]:.0f}" for found in columns.values())]
        for title, text in titles.items()
    ]
    report("Milliseconds of a decode", ["part", *columns], rows, {"parts": columns}, args.json)


if __name__ == "__main__":
    main()
