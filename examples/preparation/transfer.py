"""One file over HTTP: goes on where a broken transfer stopped."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError

BLOCK = 1 << 20
TIMEOUT = 60.0
WAITS = (0.0, 1.0, 2.0, 4.0, 8.0)  # seconds before the next attempt, while none gets further
GONE_FOR_GOOD = range(400, 500)
BUT_FOR = (408, 425, 429)  # what a server says that wants to be asked again


class Unavailable(Exception):
    """An address that does not give the file; the text says why."""


class _Broken(Exception):
    """A transfer that stopped early and may be continued."""


def transfer(url: str, part: Path, size: Optional[int]) -> None:
    """Bring ``url`` to ``part``, continuing what is there already.

    A server that knows no ranges, or whose file has changed since, sends all of it again. As
    long as an attempt gets further than all before it, there is no end to the attempts.

    Raises:
        Unavailable: the server refuses, or breaks off again and again.
        LotteryError: ``part`` cannot be written, or the file there is not ``size`` bytes long.
    """
    best, failures = _length(part), 0
    while True:
        try:
            _attempt(url, part, size)
            return
        except _Broken as broken:
            reason = str(broken)
        reached = _length(part)
        failures = 0 if reached > best else failures + 1
        best = max(best, reached)
        if failures >= len(WAITS):
            raise Unavailable(f"{url}: {reason}, {failures} times in a row")
        time.sleep(WAITS[failures])


def _attempt(url: str, part: Path, size: Optional[int]) -> None:
    tag = part.with_name(f"{part.name}.from")
    offset, validator = _known(url, part, tag)
    request = urllib.request.Request(url)
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if validator:
            request.add_header("If-Range", validator)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            if answer.status == 206 and _starts_at(answer) != offset:
                _forget(part, tag)
                raise _Broken("the server sent another range than it was asked for")
            if answer.status != 206:
                offset = 0
            _receive(answer, url, part, tag, offset, size)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send, or the file there is a shorter one
            if offset and error.headers.get("Content-Range") == f"bytes */{offset}":
                return
            _forget(part, tag)
        elif error.code in GONE_FOR_GOOD and error.code not in BUT_FOR:
            raise Unavailable(f"{url} answers {error.code} {error.reason}") from error
        raise _Broken(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection failed ({getattr(error, 'reason', error)})") from error


def _known(url: str, part: Path, tag: Path) -> tuple[int, str]:
    """How much is there of this address's file, and how the server called that version."""
    offset = _length(part)
    if not offset:
        return 0, ""
    known = tag.read_text(encoding="utf-8").splitlines() if tag.is_file() else []
    if known[:1] != [url]:  # begun elsewhere: two halves need not fit
        _forget(part, tag)
        return 0, ""
    return offset, "".join(known[1:2])


def _receive(
    answer: Any, url: str, part: Path, tag: Path, offset: int, size: Optional[int]
) -> None:
    announced = answer.headers.get("Content-Length")
    end = offset + int(announced) if announced else size
    if size is not None and end != size:
        raise LotteryError(
            f"{url} has {end:,} bytes where {size:,} are expected: it is another file than the"
            " one described; name another --mirror, or correct the description (--sources)"
        )
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    if validator.startswith("W/"):  # a weak tag does not say that the bytes are the same
        validator = ""
    try:
        tag.write_text(f"{url}\n{validator}\n", encoding="utf-8")
        # unbuffered: closing a file must not try again what has failed
        file = open(part, "ab" if offset else "wb", buffering=0)
    except OSError as error:
        raise _unwritable(part, error) from error
    with file:
        while True:
            block = answer.read(BLOCK)
            if not block:
                break
            offset += len(block)
            rest = memoryview(block)
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError as error:
                raise _unwritable(part, error) from error
    if end is not None and offset < end:
        raise _Broken(f"the connection ended after {offset:,} of {end:,} bytes")
    tag.unlink()


def _unwritable(part: Path, error: OSError) -> LotteryError:
    return LotteryError(
        f"{part} cannot be written: {error.strerror}; make room and run the same command again,"
        " it continues there"
    )


def _starts_at(answer: Any) -> Optional[int]:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    return int(found.group(1)) if found else None


def _forget(part: Path, tag: Path) -> None:
    part.unlink(missing_ok=True)
    tag.unlink(missing_ok=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
