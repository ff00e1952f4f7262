"""Print the path of this plugin, for fairseq's --user-dir."""

import argparse
from pathlib import Path

EXAMPLE = 'fairseq-train data-bin --user-dir "$(fairseq-lottery user-dir)" ...'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no arguments."""


def run(args: argparse.Namespace) -> None:
    """Print the folder of the package, which is a fairseq user directory."""
    print(Path(__file__).resolve().parent.parent)
