"""Which archives a pair of WMT14's languages is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preparation.sources import Archive, Corpus, corpus_of, digest_of, read_description

OFFICIAL = Path(__file__).resolve().parents[2] / "wmt14" / "sources.json"


@dataclass(frozen=True)
class Sources:
    """What one pair of languages is made of.

    Attributes:
        train: corpora of training text.
        sets: "valid" and "test" as SGML.
        google: "train", "valid" and "test" as Google's 32k BPE; empty where there is none.
        digest: SHA-256 of the description of this pair.
    """

    train: tuple[Corpus, ...]
    sets: dict[str, Corpus]
    google: dict[str, Corpus]
    digest: str


def load_sources(place: str, pair: str) -> Sources:
    """Read the description of ``pair`` from a file or a web address.

    Raises:
        LotteryError: it cannot be read, or is no description of this pair.
    """
    languages = pair.split("-")

    def parse(data: dict[str, Any], archives: dict[str, Archive]) -> Sources:
        part = {kind: data[kind][pair] for kind in ("train", "sets")}
        part["google"] = data.get("google", {}).get(pair, {})

        def corpus(found: dict[str, Any]) -> Corpus:
            return corpus_of(found, archives, languages)

        return Sources(
            train=tuple(map(corpus, part["train"])),
            sets={name: corpus(part["sets"][name]) for name in ("valid", "test")},
            google={name: corpus(found) for name, found in part["google"].items()},
            digest=digest_of(part),
        )

    return read_description(place, pair, parse)
