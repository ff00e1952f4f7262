"""Google's WMT16 En-De archive: tokenised, cleaned and cut into 32k joint BPE already."""

from __future__ import annotations

import html
from pathlib import Path

from fairseq_lottery.errors import LotteryError
from preparation.archives import extract_corpus
from preparation.pairs import Pair
from preparation.sources import Corpus

TYPES = 32768  # of the joined dictionary, as in fairseq's recipe for this archive
LEAST_EQUAL = 0.5  # of the sentences; those of another set or another order hardly ever agree


def unpack_google(
    corpora: dict[str, Corpus], archive: Path, references: Path, pair: Pair, folder: Path
) -> dict[str, int]:
    """Write train, valid and test as pieces; gives their numbers of sentences.

    Raises:
        LotteryError: a file is missing or of the wrong length, or the sets are not, sentence by
            sentence, those of the references.
    """
    counts = {}
    for name, corpus in corpora.items():
        targets = {language: folder / f"{name}.{language}" for language in pair}
        counts[name] = extract_corpus(corpus, archive, targets)
        if name != "train":
            for language in pair:
                _check_same(targets[language], references / f"{name}.{language}", archive)
    print(", ".join(f"{name}: {count:,} sentences" for name, count in counts.items()), flush=True)
    return counts


def same_sentence(pieces: str, raw: str) -> bool:
    """Whether letters and digits agree: tokens, subwords and Moses' escapes do not count."""
    sides = (html.unescape(pieces), html.unescape(raw))
    first, second = ("".join(filter(str.isalnum, side)) for side in sides)
    return first == second


def _check_same(pieces: Path, raw: Path, archive: Path) -> None:
    with open(pieces, encoding="utf-8", newline="\n") as cut:
        with open(raw, encoding="utf-8", newline="\n") as whole:
            equal = [same_sentence(*lines) for lines in zip(cut, whole)]
    if sum(equal) < LEAST_EQUAL * len(equal):
        raise LotteryError(
            f"only {sum(equal):,} of {len(equal):,} sentences of {raw.name} in {archive.name} are"
            " those of the references: scores would compare other sentences; name another --archive"
        )
