"""Measure how many directions the activations or the weight matrices of a model use."""

import argparse
from pathlib import Path

from fairseq_lottery.analysis.command_output import (
    add_measures,
    add_output,
    deliver,
    list_measures,
    names_of,
    refuse_output,
)
from fairseq_lottery.cli.user_module import add_user_dir, import_user_module

EXAMPLE = "fairseq-lottery complexity dense/recording"
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``complexity``."""
    add = parser.add_argument
    add("model", type=Path, metavar="A", help="recording, for activations, or file of a model, for"
        " its weight matrices")  # fmt: skip
    add_measures(parser)
    add_output(parser)
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Compute the measures, and print them by layer or matrix."""
    import_user_module(args.user_dir)
    from fairseq_lottery.analysis.complexity.model_complexity import measure_complexity, summary

    if args.list:
        list_measures("complexity", args.model, 1)
        return
    refuse_output(args)
    results = measure_complexity(args.model, measures=names_of(args))
    deliver(results, args, summary(results))
