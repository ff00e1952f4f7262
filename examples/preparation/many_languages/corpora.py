"""Which archives have the text of a language, and in which members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fairseq_lottery.errors import LotteryError
from preparation.sources import Archive, digest_of, read_description

#: the language of all pairs
ENGLISH = "en"
SETS = ("train", "valid", "test")


@dataclass(frozen=True)
class TedTalks:
    """The talks of Qi et al. (2018): one table for each set, with a column for each language."""

    archive: Archive
    members: Mapping[str, str]
    languages: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class OpusPair:
    """Pairs of sentences of a language and English, in two files for each set.

    Attributes:
        pair: name of the pair in the archive, such as ``en-fr``.
        sentences: set -> published number of pairs; sets that the archive lacks are missing.
    """

    archive: Archive
    pair: str
    sentences: Mapping[str, int]

    def member(self, name: str, language: str) -> str:
        """Return the member of a set in a language."""
        name = "dev" if name == "valid" else name
        folder = f"opus-100-corpus/v1.0/supervised/{self.pair}"
        return f"{folder}/opus.{self.pair}-{name}.{language}"


@dataclass(frozen=True)
class Opus100:
    """OPUS-100 of Zhang et al. (2020): one archive for each language."""

    pairs: Mapping[str, OpusPair]
    digest: str


def load_ted(place: str) -> TedTalks:
    """Read the description of the TED talks from a file or a web address."""

    def parse(data: dict[str, Any], archives: dict[str, Archive]) -> TedTalks:
        part = data["ted"]
        return TedTalks(
            archive=archives[part["archive"]],
            members={name: part["members"][name] for name in SETS},
            languages=tuple(part["languages"]),
            digest=digest_of(part),
        )

    return read_description(place, "the TED talks", parse)


def load_opus(place: str) -> Opus100:
    """Read the description of OPUS-100 from a file or a web address."""

    def parse(data: dict[str, Any], archives: dict[str, Archive]) -> Opus100:
        part = data["opus-100"]
        pairs = {
            language: OpusPair(
                archives[found["archive"]], str(found["pair"]), dict(found["sentences"])
            )
            for language, found in part.items()
        }
        return Opus100(pairs, digest_of(part))

    return read_description(place, "OPUS-100", parse)


def refuse_unknown(languages: Iterable[str], known: Iterable[str], corpus: str) -> None:
    """Refuse English, and languages that a corpus does not have."""
    known = tuple(known)
    for language in languages:
        if language == ENGLISH:
            raise LotteryError(f"{ENGLISH} is one side of every pair; name the other languages")
        if language not in known:
            raise LotteryError(
                f"{corpus} does not have the language {language!r}; choose from {', '.join(known)}"
            )
