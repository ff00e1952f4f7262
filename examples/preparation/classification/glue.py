"""GLUE's archives, and the text of a task's sets."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from preparation.archives import extract
from preparation.classification.examples import Labels, write_examples
from preparation.classification.tasks import GlueTask
from preparation.download import Downloads
from preparation.sources import Archive, digest_of, read_description
from preparation.tables import Rows

#: archives of the subwords: encoder, merges and dictionary
SUBWORDS = ("gpt2-encoder", "gpt2-merges", "gpt2-dictionary")
#: archives of MRPC, which GLUE may not distribute
MRPC = ("mrpc-train", "mrpc-test", "mrpc-dev-ids")


@dataclass(frozen=True)
class GlueSources:
    """What a task is made of.

    Attributes:
        archives: name -> archive of the task.
        folder: folder in its archive; None for files without an archive.
        published: set -> published number of examples.
        subwords: archives of GPT-2's subwords, in the order of ``SUBWORDS``.
        digest: SHA-256 of the task's description.
    """

    archives: Mapping[str, Archive]
    folder: Optional[str]
    published: Mapping[str, int]
    subwords: tuple[Archive, ...]
    digest: str


def load_glue_sources(place: str, name: str) -> GlueSources:
    """Read the description of a task from a file or a web address.

    Raises:
        LotteryError: it cannot be read, or does not describe this task.
    """

    def parse(data: dict[str, Any], archives: dict[str, Archive]) -> GlueSources:
        part = data["tasks"][name]
        return GlueSources(
            archives={key: archives[key] for key in part["archives"]},
            folder=part.get("folder"),
            published=dict(part.get("examples", {})),
            subwords=tuple(archives[key] for key in SUBWORDS),
            digest=digest_of(part),
        )

    return read_description(place, name, parse)


def write_task(
    task: GlueTask, sources: GlueSources, downloads: Downloads, folder: Path
) -> dict[str, Any]:
    """Write the examples of all sets of a task; return the record of the stage.

    Raises:
        LotteryError: an archive is missing or another one, or a table is malformed.
    """
    paths = downloads.fetch(sources.archives.values())
    labels = Labels(task.labels, task.largest)
    sets: dict[str, int] = {}
    malformed: dict[str, int] = {}
    counts: dict[str, int] = {}
    labelled = [name for name in task.sets if not name.startswith("test")]
    is_mrpc = sources.folder is None
    tables = _mrpc_tables(paths) if is_mrpc else _tables(task, sources, paths, folder)
    for name in task.sets:
        has_labels = name in labelled
        columns = (*task.inputs, task.label) if has_labels else task.inputs
        ids = _IDS if is_mrpc and has_labels else ()
        header = task.header if has_labels else None
        rows = Rows(tables[name], (*columns, *ids), header, skips=has_labels)
        chosen: Iterable[tuple[str, ...]] = rows
        if ids:
            chosen = _split_mrpc(rows, _dev_ids(paths[MRPC[2]]), name == "valid")
        sets[name], found = write_examples(
            chosen, name, len(task.inputs), labels if has_labels else None, folder
        )
        malformed[name] = rows.malformed
        if name == "train":
            counts = dict(found)
    for table in set(tables.values()) - set(paths.values()):
        table.unlink()
    return {
        "sets": sets,
        "labelled": labelled,
        "labels": counts if task.labels else {},
        "malformed": malformed,
        "sources": downloads.records(sources.archives.values(), paths),
    }


def _tables(
    task: GlueTask, sources: GlueSources, paths: Mapping[str, Path], folder: Path
) -> dict[str, Path]:
    """Extract the tables of a task; return set -> table."""
    (name,) = sources.archives
    members = {split: f"{sources.folder}/{file}" for split, file in task.sets.items()}
    tables = {split: folder / f"{split}.tsv" for split in members}
    extract(paths[name], {member: tables[split] for split, member in members.items()})
    return tables


_IDS = ("#1 ID", "#2 ID")


def _mrpc_tables(paths: Mapping[str, Path]) -> dict[str, Path]:
    train, test = paths[MRPC[0]], paths[MRPC[1]]
    return {"train": train, "valid": train, "test": test}


def _dev_ids(path: Path) -> set[tuple[str, str]]:
    """Return the pairs of sentences that GLUE holds out for validation."""
    with open(path, encoding="utf-8", newline="") as file:
        table = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {(row[0].strip(), row[1].strip()) for row in table if len(row) >= 2}


def _split_mrpc(
    rows: Rows, dev_ids: set[tuple[str, str]], is_valid: bool
) -> Iterator[tuple[str, ...]]:
    """Yield the examples of the training or of the validation set, in the order of the table."""
    for row in rows:
        if (row[-2:] in dev_ids) == is_valid:
            yield row[:-2]
