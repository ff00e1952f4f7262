"""Clean text: every corpus normalised, pairs with an empty side dropped, duplicates counted."""

from __future__ import annotations

import html
from array import array
from collections import Counter
from collections.abc import Iterable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError
from preparation.normalise import normalise
from preparation.pairs import Pair, RawPair, ordered, read_pairs, writing_pairs


def clean_training(
    raw: Path, corpora: Iterable[str], pair: Pair, folder: Path, workers: int
) -> dict[str, Any]:
    """Write ``train.SOURCE`` and ``train.TARGET`` from the named corpora in the folder ``raw``.

    The text itself is streamed; eight bytes a pair are kept to count duplicates, which stay.

    Returns:
        counts of pairs: read, not UTF-8, empty, kept, duplicates among the kept; and the same
        by corpus without the duplicates.

    Raises:
        LotteryError: nothing is left.
    """
    total: Counter[str] = Counter()
    each: dict[str, dict[str, int]] = {}
    digests = array("Q")
    with writing_pairs(folder, "train", pair) as write:
        for name in corpora:
            counts: Counter[str] = Counter(dict.fromkeys(("read", "not_utf8", "empty", "kept"), 0))
            work = partial(clean_pairs, pair=pair)
            chunks = read_pairs(*(raw / f"{name}.{language}" for language in pair))
            for pairs, found, hashes in ordered(work, chunks, workers):
                write(pairs)
                counts.update(found)
                digests.frombytes(hashes)
            each[name] = dict(counts)
            total.update(counts)
            print(f"{name}: " + said(counts), flush=True)
    if not total["kept"]:
        raise LotteryError("no pair of sentences is left after cleaning; look into the raw corpora")
    duplicates = count_duplicates(digests)
    print(f"training text: {said(total)}; {duplicates:,} of the kept are duplicates, and stay")
    return {**total, "duplicates": duplicates, "corpora": each}


def clean_set(
    references: Path, name: str, pair: Pair, folder: Path, has_entities: bool = True
) -> int:
    """Normalise a validation or test set, every sentence of it.

    Args:
        has_entities: whether it comes from SGML, whose entities the training text does not have.

    Returns:
        the number of sentences.
    """
    resolve = html.unescape if has_entities else str
    count = 0
    for language in pair:
        sentences = (references / f"{name}.{language}").read_text(encoding="utf-8").split("\n")[:-1]
        lines = [normalise(resolve(sentence), language) + "\n" for sentence in sentences]
        (folder / f"{name}.{language}").write_text("".join(lines), encoding="utf-8")
        count = len(lines)
    return count


def clean_pairs(pairs: list[RawPair], pair: Pair) -> tuple[list[Pair], dict[str, int], bytes]:
    """The pairs worth keeping, why others are not, and eight bytes for each that is kept."""
    kept: list[Pair] = []
    counts = Counter(read=len(pairs))
    digests = []
    for raw in pairs:
        try:
            first, second = (
                normalise(side.decode("utf-8"), language) for side, language in zip(raw, pair)
            )
        except UnicodeDecodeError:
            counts["not_utf8"] += 1
            continue
        if not first or not second:
            counts["empty"] += 1
            continue
        kept.append((first, second))
        digests.append(blake2b(f"{first}\n{second}".encode(), digest_size=8).digest())
    counts["kept"] = len(kept)
    return kept, dict(counts), b"".join(digests)


def count_duplicates(digests: array[int]) -> int:
    """How many entries equal an earlier one; sorts them in place."""
    import numpy

    values = numpy.frombuffer(digests, dtype=numpy.uint64) if digests else numpy.empty(0)
    values.sort()
    return int((values[1:] == values[:-1]).sum())


def said(counts: Counter[str]) -> str:
    """Counts in one line."""
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts.items())
