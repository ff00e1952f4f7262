"""Text out of tar and ZIP archives: wanted members only, to paths of our own choosing."""

from __future__ import annotations

import gzip
import posixpath
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

from fairseq_lottery.errors import LotteryError
from preparation.download import check_room
from preparation.sources import Corpus

BLOCK = 1 << 20
_CORRUPTED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, gzip.BadGzipFile)


def extract(archive: Path, wanted: dict[str, Path]) -> dict[str, int]:
    """Copy members of a tar or ZIP archive; one that ends in ``.gz`` is decompressed.

    A member is found by its name and must be a plain file. Where it goes is what ``wanted``
    says: names, links, owners and modes of the archive decide nothing.

    Returns:
        member -> number of lines, the last one with or without its line feed.

    Raises:
        LotteryError: a member is missing or is not a plain file, the archive is corrupted, or the
            disk has no room for a member.
    """
    try:
        if zipfile.is_zipfile(archive):
            lines = _extract_zip(archive, wanted)
        else:
            lines = _extract_tar(archive, wanted)
    except _CORRUPTED as error:
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


def _extract_tar(archive: Path, wanted: dict[str, Path]) -> dict[str, int]:
    lines: dict[str, int] = {}
    with _decompressed(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                name = posixpath.normpath(member.name)
                if name in wanted and name not in lines:
                    _refuse_special(member.isreg(), member.name, archive)
                    content = tar.extractfile(member)
                    assert content is not None  # so it is for plain files
                    lines[name] = _extract(content, member.size, wanted[name], member.name)
        while stream.read(BLOCK):  # gzip's own checksum stands at the end
            pass
    return lines


def _extract_zip(archive: Path, wanted: dict[str, Path]) -> dict[str, int]:
    lines: dict[str, int] = {}
    with zipfile.ZipFile(archive) as members:
        for info in members.infolist():
            name = posixpath.normpath(info.filename)
            if name in wanted and name not in lines:
                kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where no system is named
                _refuse_special(not info.is_dir() and kind in (0, stat.S_IFREG), name, archive)
                with members.open(info) as content:
                    lines[name] = _extract(content, info.file_size, wanted[name], name)
    return lines


def _refuse_special(is_plain: bool, name: str, archive: Path) -> None:
    if not is_plain:
        raise LotteryError(
            f"{name} in {archive.name} is no plain file: the archive is not the one"
            " described; remove it and name another --mirror"
        )


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


def _extract(content: IO[bytes], size: int, target: Path, name: str) -> int:
    check_room(target.parent, size, name)
    return _copy(content, target, name.endswith(".gz"))


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
