"""Pack a ticket: validate all files, then write them as one archive."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery import __version__
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_bytes, replacing
from fairseq_lottery.formats.dictionaries import SPECIAL, read_dictionaries
from fairseq_lottery.formats.ticket import Ticket, load_ticket
from fairseq_lottery.tickets.pack import guide, manifest
from fairseq_lottery.tickets.pack.subword_files import LARGEST, refuse_other_kind
from fairseq_lottery.tickets.pack.train_command import TICKET, TrainingCommand

_OVERWRITE = " #fairseq:overwrite"
#: maximum size of a member in bytes: that of a ZIP without extensions
_LARGEST = 2**32 - 2


def pack(
    ticket: Union[str, Path],
    out: Union[str, Path],
    command: Union[str, Path],
    data: Optional[Union[str, Path]] = None,
    subwords: Sequence[Union[str, Path]] = (),
    overwrite: bool = False,
) -> tuple[Ticket, dict[str, int]]:
    """Write an archive with a ticket and everything that its training requires except the text.

    Args:
        ticket: the ticket's file.
        out: the archive, ending in ``.zip``.
        command: text file with the ``fairseq-train`` line, or the JSON record of a stage.
        data: folder of ``fairseq-preprocess``; its dictionaries (with counts) are compared with the
            ticket's and packed.
        subwords: files of the subword model.

    Returns:
        The ticket, and the size of each member in bytes.

    Raises:
        LotteryError: a file is not valid, or the command depends on this machine.
    """
    if Path(out).suffix != ".zip":
        raise LotteryError(f"--out {out} must end in .zip")
    loaded = load_ticket(ticket)
    preprocessing = guide.preprocessing_of(loaded.adapter)
    inferred = preprocessing.infer(Path(data)) if data is not None else None
    try:
        line = _read(command).decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise LotteryError(
            f"{command} is not UTF-8 text; write the fairseq-train line in it"
        ) from None
    training = TrainingCommand.parse(line, loaded.adapter, inferred or ())
    files = _subwords(subwords)
    record = {
        **manifest.describe(loaded),
        "command": training.text(),
        **({"languages": training.data} if training.data else {}),
        "subwords": sorted(files),
        "packed_by": __version__,
    }
    content = {
        TICKET: _read(ticket),
        **_dictionaries(loaded, training, data),
        **{f"{manifest.SUBWORDS}/{name}": text for name, text in files.items()},
        manifest.COMMAND: training.text().encode(),
        manifest.RECORD: manifest.to_json(record),
        manifest.README: guide.readme(training, files, loaded.record["signature"]).encode(),
    }
    members = {manifest.MANIFEST: manifest.write_manifest(content), **dict(sorted(content.items()))}
    with replacing(out, overwrite) as temporary:
        ratio = _write_zip(temporary, members, zipfile.ZIP_DEFLATED)
        if ratio > manifest.LARGEST_RATIO:  # a very sparse ticket would look like a ZIP bomb
            _write_zip(temporary, members, zipfile.ZIP_STORED)
    return loaded, {name: len(text) for name, text in content.items()}


def _write_zip(path: Path, members: Mapping[str, bytes], method: int) -> float:
    """Write a ZIP without dates, owners and machine; return the highest compression ratio."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, whose permissions follow
            info.external_attr = 0o100644 << 16
            file.writestr(info, content, method, compresslevel=6)
        return max(info.file_size / max(info.compress_size, 1) for info in file.infolist())


def _read(path: Union[str, Path], limit: int = _LARGEST) -> bytes:
    try:
        return read_bytes(path, limit)
    except OSError as error:
        raise LotteryError(f"{path} cannot be read: {error.strerror}") from error


def _subwords(paths: Sequence[Union[str, Path]]) -> dict[str, bytes]:
    """Return file name -> content of each subword file."""
    files: dict[str, bytes] = {}
    for path in map(Path, paths):
        if not manifest.is_subwords(f"{manifest.SUBWORDS}/{path.name}"):
            raise LotteryError(
                f"--subwords {path} has a file name that is not portable; use up to 64"
                " letters, digits, dots, dashes and underscores"
            )
        if path.name.casefold() in map(str.casefold, files):
            raise LotteryError(f"--subwords has two files named {path.name}; rename one")
        files[path.name] = _read(path, LARGEST)
        try:
            refuse_other_kind(path.name, files[path.name])
        except LotteryError as error:
            raise LotteryError(f"--subwords {error}") from None
    return files


def _dictionaries(
    ticket: Ticket, command: TrainingCommand, data: Optional[Union[str, Path]]
) -> dict[str, bytes]:
    """Return file name -> content of each dictionary: of the data, else of the ticket."""
    folder = command.folder(Path(data or ""))
    named: dict[str, tuple[str, ...]] = {}
    for name, file in folder.files.items():
        if named.setdefault(file, ticket.dictionaries[name]) != ticket.dictionaries[name]:
            raise LotteryError(
                f"the command has one dictionary {file}, but the ticket has two; give the command"
                " that trains this ticket"
            )
    if data is None:
        return {file: _to_text(symbols) for file, symbols in named.items()}
    ticket.dictionaries.refuse_other(read_dictionaries(folder), "the ticket")
    return {file: _read(folder.path / file) for file in named}


def _to_text(symbols: Sequence[str]) -> bytes:
    """Return a dictionary file of fairseq with a count of 1 each: tickets do not store counts."""
    seen = set(SPECIAL)
    rows = []
    for symbol in symbols:
        if "\r" in symbol or _OVERWRITE in symbol:
            raise LotteryError(
                f"the ticket's dictionary has the symbol {symbol!r}, which cannot be written for"
                " fairseq; give the data folder with --data"
            )
        # fairseq refuses repeated symbols without this mark
        rows.append(f"{symbol} 1{_OVERWRITE if symbol in seen else ''}\n")
        seen.add(symbol)
    return "".join(rows).encode()
