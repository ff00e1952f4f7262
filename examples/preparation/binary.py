"""fairseq-preprocess, and whether what it wrote is all there."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from preparation.pairs import Pair
from preparation.subwords import SPECIAL

#: set -> flag of fairseq-preprocess
PREFIXES = {"train": "--trainpref", "valid": "--validpref", "test": "--testpref"}
MAGIC = b"MMIDIDX\x00\x00"  # of an index of fairseq's "mmap" form: magic, version, type, length


def binarise(
    pieces: Path,
    pair: Pair,
    sentences: dict[str, int],
    folder: Path,
    log: Path,
    workers: int,
    dictionary: Optional[Path] = None,
    types: Optional[int] = None,
) -> dict[str, Any]:
    """Turn ``pieces`` into fairseq's binary form, with one dictionary for both languages.

    Args:
        sentences: how many each of train, valid and test must have.
        dictionary: the dictionary to use; counted on the training text where it is None.
        types: how many types a counted dictionary may have, fairseq's own among them.

    Returns:
        "dictionary": its size with fairseq's own symbols, as the embedding will have it.

    Raises:
        LotteryError: fairseq-preprocess failed, or a set is not complete.
    """
    source, target = pair
    flags = ["--joined-dictionary", "--source-lang", source, "--target-lang", target]
    flags += ["--destdir", str(folder), "--workers", str(workers)]
    for name, flag in PREFIXES.items():
        if name in sentences:
            flags += [flag, str(pieces / name)]
    if dictionary is not None:
        flags += ["--srcdict", str(dictionary)]
    if types is not None:
        flags += ["--nwordssrc", str(types), "--nwordstgt", str(types)]
    expected = {
        f"{name}.{source}-{target}.{language}": count
        for name, count in sentences.items()
        for language in pair
    }
    preprocess(flags, folder, expected, log)
    sizes = {len((folder / f"dict.{language}.txt").read_bytes().splitlines()) for language in pair}
    if len(sizes) != 1:
        raise LotteryError(f"the dictionaries of {source} and {target} differ; see {log}")
    size = sizes.pop() + SPECIAL
    print(f"dictionary: {size:,} types, joined")
    return {"dictionary": size}


def preprocess(flags: Sequence[str], folder: Path, expected: dict[str, int], log: Path) -> None:
    """Run fairseq-preprocess, and count what it wrote.

    Args:
        expected: name of a set in ``folder``, without its ending -> number of its sentences.
        log: file for its output.

    Raises:
        LotteryError: a set is not complete.
    """
    command = [sys.executable, "-m", "fairseq_cli.preprocess", *flags]
    with open(log, "w", encoding="utf-8") as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT).returncode
    # fairseq can end with an error code after all work is done, so its files decide
    for name, count in expected.items():
        found = count_sentences(folder / f"{name}.idx")
        if found != count:
            raise LotteryError(
                f"fairseq-preprocess ended with code {code} and {found:,} of {count:,}"
                f" sentences of {name} ({_last_line(log)}); see {log}, and run the same command"
                " again"
            )


def count_sentences(index: Path) -> int:
    """How many sentences an index of fairseq's says it has; 0 where it is not complete."""
    if not index.is_file():
        return 0
    with open(index, "rb") as file:
        head = file.read(len(MAGIC) + 17)
    if len(head) < len(MAGIC) + 17 or not head.startswith(MAGIC):
        return 0
    _, _, count = struct.unpack("<QBQ", head[len(MAGIC) :])
    # four bytes for the length and eight for the place of every sentence follow
    return int(count) if index.stat().st_size == len(head) + 12 * count else 0


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
