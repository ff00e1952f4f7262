"""Compare the layers and heads of a model with those of others, or with each other."""

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
from fairseq_lottery.environment import require

EXAMPLE = "fairseq-lottery similarity dense/recording slt80/recording random80/recording"
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``similarity``."""
    add = parser.add_argument
    add("first", type=Path, metavar="A", help="recording, or file of a model")
    add("others", type=Path, nargs="*", metavar="B", help="recordings or files to compare it to,"
        " such as a pruned model and its random controls; without any, the layers of the recording"
        " A are compared to each other")  # fmt: skip
    add_measures(parser)
    add_output(parser)
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Compute the measures, and print those of the same layers."""
    require("scipy")
    import_user_module(args.user_dir)
    from fairseq_lottery.analysis.similarity.compare import compare_models
    from fairseq_lottery.analysis.similarity.summary import summary

    if args.list:
        list_measures("similarity", args.first, 2)
        return
    refuse_output(args)
    results = compare_models(args.first, *args.others, measures=names_of(args))
    deliver(results, args, summary(results))
