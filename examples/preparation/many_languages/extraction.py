"""Pairs of sentences out of the archives: ``LANGUAGE-en/SET.LANGUAGE`` and ``.en``."""

from __future__ import annotations

import html
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError
from preparation.archives import check_parallel, extract
from preparation.download import Downloads
from preparation.many_languages.corpora import ENGLISH, SETS, Opus100, TedTalks
from preparation.sources import Corpus
from preparation.tables import Rows

#: how the tables mark a talk that was not translated, or not completely; the second is tokenised
_MISSING = ("__NULL__", "_ _ NULL _ _")


def code_of(language: str) -> str:
    """Return a language without hyphens, which fairseq puts between the languages of a pair."""
    return language.replace("-", "_")


def pair_name(language: str) -> str:
    """Return the name of a language's pair, such as ``de-en``."""
    return f"{code_of(language)}-{ENGLISH}"


def write_ted(
    corpus: TedTalks, languages: Sequence[str], downloads: Downloads, folder: Path
) -> dict[str, Any]:
    """Write the pairs of all languages; return the record of the stage.

    Moses's escapes, such as ``&apos;``, are resolved.

    Raises:
        LotteryError: the archive is missing or another one, or a language has no training text.
    """
    paths = downloads.fetch([corpus.archive])
    tables = {name: folder / f"{name}.tsv" for name in SETS}
    wanted = {corpus.members[name]: tables[name] for name in SETS}
    extract(paths[corpus.archive.name], wanted)
    counts: dict[str, dict[str, int]] = {pair_name(language): {} for language in languages}
    malformed = {}
    for language in languages:
        (folder / pair_name(language)).mkdir()
    for name in SETS:
        rows = Rows(tables[name], (ENGLISH, *languages))
        found = _write_pairs(rows, name, languages, folder)
        for language, count in found.items():
            counts[pair_name(language)][name] = count
        malformed[name] = rows.malformed
        tables[name].unlink()
    for pair, sets in counts.items():
        if not sets["train"]:
            raise LotteryError(f"the TED talks have no pairs of sentences of {pair}")
        for name in [name for name, count in sets.items() if not count]:
            for side in pair.split("-"):
                (folder / pair / f"{name}.{side}").unlink()
            del sets[name]
    return {
        "sentences": counts,
        "malformed": malformed,
        "sources": downloads.records([corpus.archive], paths),
    }


def _write_pairs(rows: Rows, name: str, languages: Sequence[str], folder: Path) -> dict[str, int]:
    """Write the pairs of one set; return language -> number of pairs."""
    counts = dict.fromkeys(languages, 0)
    with ExitStack() as stack:
        files = {
            language: [
                stack.enter_context(
                    open(folder / pair_name(language) / f"{name}.{side}", "w", encoding="utf-8")
                )
                for side in (code_of(language), ENGLISH)
            ]
            for language in languages
        }
        for english, *texts in rows:
            if not _is_complete(english):
                continue
            for language, text in zip(languages, texts):
                if _is_complete(text):
                    counts[language] += 1
                    for file, side in zip(files[language], (text, english)):
                        file.write(f"{html.unescape(side)}\n")
    return counts


def _is_complete(text: str) -> bool:
    return bool(text) and not any(mark in text for mark in _MISSING)


def write_opus(
    corpus: Opus100, languages: Sequence[str], downloads: Downloads, folder: Path
) -> dict[str, Any]:
    """Write the pairs of all languages; return the record of the stage.

    Raises:
        LotteryError: an archive is missing or another one, or its sides are not parallel.
    """
    archives = [corpus.pairs[language].archive for language in languages]
    paths = downloads.fetch(archives)
    counts: dict[str, dict[str, int]] = {}
    published: dict[str, dict[str, int]] = {}
    for language in languages:
        pair, name = corpus.pairs[language], pair_name(language)
        (folder / name).mkdir()
        sides = (language, ENGLISH)  # no language of OPUS-100 has a hyphen
        wanted = {
            pair.member(split, side): folder / name / f"{split}.{side}"
            for split in pair.sentences
            for side in sides
        }
        lines = extract(paths[pair.archive.name], wanted)
        counts[name] = {}
        for split in pair.sentences:
            members = {side: pair.member(split, side) for side in sides}
            found = {side: lines[member] for side, member in members.items()}
            check_parallel(Corpus(pair.archive, members), found)
            counts[name][split] = found[language]
        if counts[name] != dict(pair.sentences):
            published[name] = dict(pair.sentences)
    return {
        "sentences": counts,
        "published": published,  # only where it differs
        "sources": downloads.records(archives, paths),
    }
