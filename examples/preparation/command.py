"""What the command lines of all preparations share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

from fairseq_lottery.errors import LotteryError

PACKAGES = ("fairseq", "fairseq-fixed", "fairseq-lottery", "sacremoses", "sentencepiece", "torch")


def parser_of(description: Optional[str]) -> argparse.ArgumentParser:
    """Return a parser that shows the docstring of a script as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_common(parser: argparse.ArgumentParser, official: Path) -> None:
    """Add the arguments of every preparation: where to write, and where archives come from."""
    parser.add_argument("--out", type=Path, required=True, help="folder of all that is written")
    parser.add_argument("--mirror", metavar="URL", help="a folder with the same archives")
    parser.add_argument(
        "--sources",
        metavar="FILE",
        default=str(official),
        help="description of the archives, a file or an address (default: sources.json)",
    )
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1, metavar="N")


def positive(text: str) -> int:
    """Return a positive integer, as a type of argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def require(*packages: str) -> None:
    """Refuse to start without a package.

    Raises:
        LotteryError: a package is not installed.
    """
    for package in packages:
        if find_spec(package) is None:
            raise LotteryError(
                f"{package} is not installed in {sys.executable}; install it with: pip install"
                f" {package}"
            )


def require_files(folder: Path, names: Iterable[str], flag: str) -> list[Path]:
    """Return the files of a folder that the user gives.

    Raises:
        LotteryError: one of them is missing.
    """
    paths = [folder / name for name in names]
    for path in paths:
        if not path.is_file():
            raise LotteryError(f"{flag} {folder} has no {path.name}; give the folder that has it")
    return paths


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that make the data."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
