"""Compare techniques by the validation loss of their best checkpoints, with tests across seeds.

    python examples/equal_cost/validation_loss.py RUNS [--pairs rigl,set slt,snip]

The loss is less noisy than BLEU, above all if BLEU is low. p-values are adjusted for all pairs of
techniques (Benjamini and Hochberg 1995); intervals are not.
"""

import argparse
import statistics
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report import gather, read_run
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.statistics.significance import across_seeds

LOSS = Evaluation("valid", "best", "loss")


def with_losses(group):
    """Return the group with the validation loss of each evaluated ``best`` checkpoint."""
    curves = group.curves["valid", "loss"]
    losses = {}
    for key, table in group.tables.items():
        for cell, record in table.items() if key.metric == "BLEU" else ():
            by_update = {point.update: point.value for point in curves.get(cell, ())}
            if record.checkpoint == "best" and record.update in by_update:
                losses[cell] = replace(record, metric="loss", score=by_update[record.update])
    return replace(group, tables={LOSS: losses})


def main():
    """Print the losses, and the tests of the chosen pairs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of the workflow")
    parser.add_argument("--pairs", nargs="*", help="pairs of techniques; all by default")
    args = parser.parse_args()
    groups = gather([read_run(args.runs)])
    if len(groups) != 1 or ("valid", "loss") not in groups[0].curves:
        parser.error("RUNS has several data sets, or no validation losses")
    group = with_losses(groups[0])
    names = (DENSE, *group.techniques)
    chosen = [pair.split(",") for pair in args.pairs or ()] or [*combinations(names, 2)]
    for pair in chosen:
        if len(pair) != 2 or not set(pair) <= set(names):
            parser.error(f"{','.join(pair)} is not a pair of {', '.join(names)}")
    for sparsity in group.sparsities:
        print(f"validation loss at {sparsity:g}, mean ± deviation over seeds")
        for name in names:
            values = group.values(LOSS, name, 0.0 if name == DENSE else sparsity)
            if values:
                spread = statistics.stdev(values) if len(values) > 1 else float("nan")
                print(f"  {name:12} {statistics.fmean(values):.3f} ± {spread:.3f}")
    tests = across_seeds(group, LOSS)
    if not tests:
        print("no tests: they require three seeds")
    for a, b in chosen:
        for test in (test for test in tests if {test.a, test.b} == {a, b}):
            sign = 1 if test.a == a else -1
            words = f"{a} - {b} at {test.sparsity:g}: {sign * test.difference:.3f}"
            if test.low is not None:
                low, high = sorted((sign * test.low, sign * test.high))
                words += f" ({low:.3f} to {high:.3f}), adjusted p = {test.adjusted:.4f}"
            print(words)


if __name__ == "__main__":
    main()
