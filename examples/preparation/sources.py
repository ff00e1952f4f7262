"""Descriptions of archives: where they are, what is in them, and what their checksums should be."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Optional, TypeVar

from fairseq_lottery.errors import LotteryError

LARGEST = 1 << 20  # bytes of a description that is read from a web address

Parsed = TypeVar("Parsed")


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


def read_description(
    place: str, subject: str, parse: Callable[[dict[str, Any], dict[str, Archive]], Parsed]
) -> Parsed:
    """Read a description of archives from a file or a web address.

    Args:
        subject: what the description is of, for messages.
        parse: turns the content of the file, and its archives by name, into the result.

    Raises:
        LotteryError: it cannot be read, or does not describe the subject.
    """
    try:
        data = json.loads(_read(place))
        archives = {name: _archive(name, found) for name, found in data["archives"].items()}
        return parse(data, archives)
    except OSError as error:
        raise LotteryError(f"{place} cannot be read: {error}; name another --sources") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LotteryError(
            f"{place} does not describe the sources of {subject} ({type(error).__name__}: {error});"
            " write it like the example's own sources.json"
        ) from error


def digest_of(part: Any) -> str:
    """Return the SHA-256 of a part of a description."""
    return sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def corpus_of(
    found: Mapping[str, Any], archives: Mapping[str, Archive], languages: Iterable[str]
) -> Corpus:
    """Return the parallel text that an entry of a description names."""
    return Corpus(
        archive=archives[found["archive"]],
        members={language: found["members"][language] for language in languages},
        sentences=found.get("sentences"),
    )


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
