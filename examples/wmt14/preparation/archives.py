"""Text out of tar archives: wanted members only, to paths of our own choosing."""

from __future__ import annotations

import gzip
import posixpath
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any

from fairseq_lottery.errors import LotteryError
from preparation.download import check_room
from preparation.sources import Corpus

BLOCK = 1 << 20


def extract(archive: Path, wanted: dict[str, Path]) -> dict[str, int]:
    """Copy members of a tar archive; one that ends in ``.gz`` is decompressed.

    A member is found by its name and must be a plain file. Where it goes is what ``wanted``
    says: names, links, owners and modes of the archive decide nothing.

    Returns:
        member -> number of lines, the last one with or without its line feed.

    Raises:
        LotteryError: a member is missing or is not a plain file, the archive is corrupted, or the
            disk has no room for a member.
    """
    lines: dict[str, int] = {}
    try:
        with _decompressed(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    name = posixpath.normpath(member.name)
                    if name in wanted and name not in lines:
                        lines[name] = _extract_member(tar, member, wanted[name], archive)
            while stream.read(BLOCK):  # gzip's own checksum stands at the end
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LotteryError(
            f"{archive} is corrupted ({error}); remove it and run the same command again"
        ) from error
    missing = sorted(set(wanted) - set(lines))
    if missing:
        raise LotteryError(
            f"{archive.name} holds no {', '.join(missing)}: it is not the archive described;"
            " remove it and name another --mirror, or correct the description (--sources)"
        )
    return lines


def extract_corpus(corpus: Corpus, archive: Path, targets: dict[str, Path]) -> int:
    """Copy both sides of parallel text; ``targets`` are by language.

    Returns:
        How many lines each side has.

    Raises:
        LotteryError: as ``extract``; the sides are of unequal length.
    """
    lines = extract(archive, {corpus.members[language]: targets[language] for language in targets})
    counts = {language: lines[corpus.members[language]] for language in targets}
    check_parallel(corpus, counts)
    return next(iter(counts.values()))


def check_parallel(corpus: Corpus, counts: dict[str, int]) -> None:
    """Refuse parallel text whose sides differ in length, or that is not as long as it must be.

    Raises:
        LotteryError: with the number of sentences of each side.
    """
    each = ", ".join(f"{count:,} in {language}" for language, count in counts.items())
    if len(set(counts.values())) != 1:
        raise LotteryError(
            f"{corpus.archive.file} is not parallel: {each}; its sides cannot be paired, so"
            " remove it and name another --mirror"
        )
    if corpus.sentences is not None and set(counts.values()) != {corpus.sentences}:
        raise LotteryError(
            f"{corpus.archive.file} must have {corpus.sentences:,} sentences and has {each}: it"
            " is another set than the published scores are of; remove it and name another --mirror"
        )


def _decompressed(archive: Path) -> IO[bytes]:
    with open(archive, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    opened: Any = gzip.open(archive) if compressed else open(archive, "rb")
    stream: IO[bytes] = opened
    return stream


def _extract_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, archive: Path
) -> int:
    if not member.isreg():
        raise LotteryError(
            f"{member.name} in {archive.name} is no plain file: the archive is not the one"
            " described; remove it and name another --mirror"
        )
    check_room(target.parent, member.size, member.name)
    stream = tar.extractfile(member)
    assert stream is not None  # so it is for plain files
    return _copy(stream, target, member.name.endswith(".gz"))


def _copy(stream: IO[bytes], target: Path, compressed: bool) -> int:
    source: Any = gzip.GzipFile(fileobj=stream) if compressed else stream
    lines, last = 0, b"\n"
    with open(target, "wb") as file:
        while block := source.read(BLOCK):
            file.write(block)
            lines += block.count(b"\n")
            last = block[-1:]
        if last != b"\n":
            file.write(b"\n")
            lines += 1
    return lines
