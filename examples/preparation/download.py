"""The folder of downloads: every archive complete, and with the checksum that it should have."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from preparation.sources import Archive
from preparation.transfer import Unavailable, transfer

LEDGER = "checksums.json"
SPARE = 64 << 20  # bytes to leave free on a disk


@dataclass(frozen=True)
class Downloads:
    """Where archives are kept and where they come from.

    Attributes:
        mirror: address of a folder that is asked instead of the official places.
        local: archives that the user has fetched already, by name.
    """

    folder: Path
    mirror: Optional[str] = None
    local: tuple[tuple[str, Path], ...] = ()

    def fetch(self, archives: Iterable[Archive]) -> dict[str, Path]:
        """Name -> verified file of each archive; downloads what is missing.

        Raises:
            LotteryError: no address gives an archive, its checksum is another one, or the disk
                has no room for all that are missing.
        """
        wanted = {archive.name: archive for archive in archives}
        self._check_room([a for a in wanted.values() if a.name not in dict(self.local)])
        return {name: self._obtain(archive) for name, archive in wanted.items()}

    def record(self, archive: Archive, path: Path) -> dict[str, Any]:
        """What ``prepare.json`` says of an archive that ``fetch`` gave."""
        seen = _read_ledger(self.folder / LEDGER).get(archive.file, {})
        return {"file": str(path.name), "size": path.stat().st_size, **seen}

    def records(
        self, archives: Iterable[Archive], paths: Mapping[str, Path]
    ) -> dict[str, dict[str, Any]]:
        """Name -> what ``prepare.json`` says, for all archives that ``fetch`` gave."""
        return {archive.name: self.record(archive, paths[archive.name]) for archive in archives}

    def _obtain(self, archive: Archive) -> Path:
        given = dict(self.local).get(archive.name)
        if given is not None:
            if not given.is_file():
                raise LotteryError(f"{given} is no file; name the archive with --archive")
            self._verify(given, archive, given, "--archive")
            return given
        path = self.folder / archive.file
        if path.is_file():
            self._verify(path, archive, path, "found here")
            return path
        part = path.with_name(f"{path.name}.part")
        url = self._download(archive, part)
        self._verify(part, archive, path, url)
        return path

    def _download(self, archive: Archive, part: Path) -> str:
        if self.mirror:
            urls: tuple[str, ...] = (f"{self.mirror.rstrip('/')}/{archive.file}",)
        else:
            urls = archive.urls
        if not urls:
            raise LotteryError(
                f"{archive.file} has no address that a program could ask; download it from"
                f" {archive.page} and name it with --archive, or name a --mirror"
            )
        reasons = []
        for url in urls:
            print(f"download {url}", flush=True)
            try:
                transfer(url, part, archive.size)
                return url
            except Unavailable as reason:
                reasons.append(str(reason))
        raise LotteryError(
            f"{archive.file} cannot be downloaded: {'; '.join(reasons)}; run the same command"
            " again later, or name a --mirror"
        )

    def _verify(self, path: Path, archive: Archive, final: Path, origin: str) -> None:
        """Check ``path``, write its checksum down, and give it its final name."""
        found = checksums(path)
        ledger = _read_ledger(self.folder / LEDGER)
        expected = [
            (kind, value, archive.published or "the description of the sources")
            for kind, value in (("sha256", archive.sha256), ("md5", archive.md5))
            if value is not None
        ]
        if not expected and archive.file in ledger:
            expected = [("sha256", ledger[archive.file]["sha256"], "an earlier download")]
        for kind, value, authority in expected:
            if found[kind] != value:
                raise LotteryError(
                    f"{final} is not what it should be: its {kind.upper()} is {found[kind]} where"
                    f" {authority} has {value}; {_set_aside(path, final, origin)}"
                )
        if expected:
            kind, _, checked = expected[0]
            print(f"{archive.file}: {kind.upper()} as in {checked}")
        else:
            checked = "first download"
            print(
                f"{archive.file}: nobody has published a checksum of it; its SHA-256 is"
                f" {found['sha256']}, written to {self.folder / LEDGER} and checked from now on"
            )
        if ledger.get(archive.file, {}).get("sha256") != found["sha256"]:
            ledger[archive.file] = {
                "sha256": found["sha256"],
                "md5": found["md5"],
                "checked": checked,
                "origin": origin,
            }
            with replacing(self.folder / LEDGER) as temporary:
                temporary.write_text(json.dumps(ledger, indent=1) + "\n", encoding="utf-8")
        if path != final:
            path.replace(final)

    def _check_room(self, archives: list[Archive]) -> None:
        missing = 0
        for archive in archives:
            path = self.folder / archive.file
            part = path.with_name(f"{path.name}.part")
            if archive.size is not None and not path.exists():
                missing += archive.size - (part.stat().st_size if part.exists() else 0)
        check_room(self.folder, missing, "the downloads")


def check_room(folder: Path, needed: int, what: str) -> None:
    """Refuse where ``needed`` bytes more would fill the disk of ``folder``.

    Raises:
        LotteryError: there is less room.
    """
    free = shutil.disk_usage(folder).free
    if needed and free < needed + SPARE:
        raise LotteryError(
            f"the disk of {folder} has {free / 1e9:.2f} GB free where {what} need"
            f" {(needed + SPARE) / 1e9:.2f} GB; make room or choose another --out"
        )


def checksums(path: Path) -> dict[str, str]:
    """SHA-256 and MD5 of a file, in hexadecimal digits."""
    sums = {"sha256": hashlib.sha256(), "md5": hashlib.md5()}
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            for each in sums.values():
                each.update(block)
    return {kind: each.hexdigest() for kind, each in sums.items()}


def _set_aside(path: Path, final: Path, origin: str) -> str:
    if origin == "--archive":  # a user's own file stays where it is
        return "name another --archive"
    bad = final.with_name(f"{final.name}.bad")
    path.replace(bad)
    return f"it was set aside as {bad.name}: run the same command again, or name another --mirror"


def _read_ledger(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    ledger: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return ledger
