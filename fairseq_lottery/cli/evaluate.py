"""Measure models on examples of their task: accuracy, F1, correlations and losses."""

import argparse
from pathlib import Path
from typing import Any

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module

EXAMPLE = "fairseq-lottery evaluate half/checkpoint_best.pt --subset test --metric accuracy mcc"
REQUIRES = ("torch", "numpy", "safetensors", "fairseq")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``evaluate``."""
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="checkpoint or compact file; for the task"
        " translation, also a ticket or snapshot")  # fmt: skip
    add("--data", metavar="FOLDER", help="data folder (that of the training)")
    add("--subset", default="valid", help="subset of the data (valid)")
    add("--metric", nargs="+", default=[], metavar="NAME", dest="metrics", help="metrics of the"
        " task (all that its labels define)")  # fmt: skip
    add("--max-tokens", type=int, default=4096, metavar="N", help="tokens of a batch (4096)")
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--out", type=Path, metavar="FILE.jsonl", help="file for the rows, one JSON object a line")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Print the scores of each model, and write them."""
    from fairseq_lottery.files import refuse_missing, refuse_target

    if args.out is not None:
        refuse_target(args.out, args.overwrite)  # before the models are measured
    refuse_missing(*args.models)
    import fairseq  # noqa: F401 - before the plugin, which registers with it
    from tqdm import tqdm

    import_user_module(args.user_dir)
    from fairseq_lottery.inference.loaded_model import load_for_evaluation
    from fairseq_lottery.inference.scores.task_scores import measure_scores
    from fairseq_lottery.records.json_files import write_lines

    rows: list[dict[str, Any]] = []
    for path in args.models:
        loaded = load_for_evaluation(path, args.data, args.cpu)
        with tqdm(unit=" examples", disable=None) as bar:
            scores = measure_scores(loaded, args.subset, args.metrics, args.max_tokens, bar.update)
        rows += [{"model": path, **score.row} for score in scores]
        for score in scores:
            note = ", undefined and counted as 0" if score.undefined else ""
            print(f"{path}: {score.metric} {score.score:.4f} ({score.examples} examples of"
                  f" {score.subset}{note})")  # fmt: skip
            print(f"  {score.signature}")
    if args.out is not None:
        write_lines(args.out, rows)
