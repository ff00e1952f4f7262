"""Print the folder that fairseq's --user-dir wants."""

import argparse
from pathlib import Path

EXAMPLE = 'fairseq-train data-bin --user-dir "$(fairseq-lottery user-dir)" ...'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This command takes no arguments of its own."""


def run(args: argparse.Namespace) -> None:
    """Print the package's own folder: it is a fairseq user-dir."""
    print(Path(__file__).resolve().parent.parent)
