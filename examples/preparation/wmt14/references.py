"""Validation and test text as published: what sacreBLEU compares with."""

from __future__ import annotations

from pathlib import Path

from preparation.archives import check_parallel, extract
from preparation.pairs import Pair
from preparation.sources import Corpus
from preparation.wmt14.sgml import read_segments


def write_references(
    sets: dict[str, Corpus], archives: dict[str, Path], pair: Pair, folder: Path
) -> dict[str, int]:
    """Write ``valid`` and ``test`` of both languages, raw; gives their numbers of sentences.

    Raises:
        LotteryError: an archive lacks a file, or a set has another number of sentences.
    """
    counts = {}
    for name, corpus in sets.items():
        files = {language: folder / f"{name}.{language}.sgm" for language in pair}
        extract(
            archives[corpus.name], {corpus.members[language]: files[language] for language in pair}
        )
        found = {}
        for language in pair:
            segments = read_segments(files[language])
            text = "".join(f"{segment}\n" for segment in segments)
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
            files[language].unlink()
            found[language] = len(segments)
        check_parallel(corpus, found)
        counts[name] = found[pair[0]]
        print(f"{name}: {counts[name]:,} sentences of {corpus.name}", flush=True)
    return counts
