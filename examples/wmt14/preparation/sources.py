"""Which archives there are, what is in them, and what their checksums should be."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError

OFFICIAL = Path(__file__).resolve().parent.parent / "sources.json"
LARGEST = 1 << 20  # bytes of a description that is read from a web address


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        file: its name here and on a mirror.
        urls: where it is, tried in this order; none where a person has to fetch it from ``page``.
        size: bytes, or None where nobody has said.
        sha256: checksum, or None where nobody has published one.
        md5: an older checksum that somebody has published, or None.
        published: who says so.
    """

    name: str
    file: str
    urls: tuple[str, ...] = ()
    size: Optional[int] = None
    sha256: Optional[str] = None
    md5: Optional[str] = None
    published: Optional[str] = None
    page: Optional[str] = None


@dataclass(frozen=True)
class Corpus:
    """Parallel text in an archive: language -> member, and how many sentences it must have."""

    archive: Archive
    members: dict[str, str]
    sentences: Optional[int] = None

    @property
    def name(self) -> str:
        """The name of its archive: no archive gives a pair of languages two corpora."""
        return self.archive.name


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
    try:
        data = json.loads(_read(place))
        archives = {n: _archive(n, found) for n, found in data["archives"].items()}
        part = {kind: data[kind][pair] for kind in ("train", "sets")}
        part["google"] = data.get("google", {}).get(pair, {})
        sources = Sources(
            train=tuple(_corpus(found, archives, pair) for found in part["train"]),
            sets={n: _corpus(part["sets"][n], archives, pair) for n in ("valid", "test")},
            google={n: _corpus(found, archives, pair) for n, found in part["google"].items()},
            digest=sha256(json.dumps(part, sort_keys=True).encode()).hexdigest(),
        )
    except OSError as error:
        raise LotteryError(f"{place} cannot be read: {error}; name another --sources") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LotteryError(
            f"{place} does not describe the sources of {pair} ({type(error).__name__}: {error});"
            f" write it like {OFFICIAL.name}"
        ) from error
    return sources


def _read(place: str) -> str:
    if place.startswith(("http://", "https://")):
        with urllib.request.urlopen(place, timeout=60) as answer:
            content: bytes = answer.read(LARGEST)
        return content.decode("utf-8")
    return Path(place).read_text(encoding="utf-8")


def _archive(name: str, found: dict[str, Any]) -> Archive:
    archive = Archive(name=name, **{**found, "urls": tuple(found.get("urls", ()))})
    if Path(archive.file).name != archive.file or archive.file.startswith("."):
        raise ValueError(f"{archive.file!r} is no name of a file")
    return archive


def _corpus(found: dict[str, Any], archives: dict[str, Archive], pair: str) -> Corpus:
    languages = pair.split("-")
    return Corpus(
        archive=archives[found["archive"]],
        members={language: found["members"][language] for language in languages},
        sentences=found.get("sentences"),
    )
