"""XNLI's archives, and the text of one language's sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError
from preparation.archives import extract
from preparation.classification.examples import Labels, write_examples
from preparation.classification.tasks import INFERENCE
from preparation.download import Downloads
from preparation.sources import Archive, digest_of, read_description
from preparation.tables import Rows

#: the translated training sets spell one label in another way
LABELS = Labels(INFERENCE, spellings={"contradictory": "contradiction"})
_TRAIN = ("premise", "hypo", "label")
_SET = ("sentence1", "sentence2", "gold_label", "language")


@dataclass(frozen=True)
class XnliSources:
    """What XNLI is made of.

    Attributes:
        archives: ``translated`` (training sets) and ``sets`` (validation and test sets).
        languages: all languages.
        members: set -> member of its archive; that of ``train`` has a place for the language.
        published: set -> published number of examples of a language.
        digest: SHA-256 of the description without the archives.
    """

    archives: Mapping[str, Archive]
    languages: tuple[str, ...]
    members: Mapping[str, str]
    published: Mapping[str, int]
    digest: str


def load_xnli_sources(place: str) -> XnliSources:
    """Read the description of XNLI from a file or a web address.

    Raises:
        LotteryError: it cannot be read, or does not describe XNLI.
    """

    def parse(data: dict[str, Any], archives: dict[str, Archive]) -> XnliSources:
        return XnliSources(
            archives={name: archives[name] for name in ("translated", "sets")},
            languages=tuple(data["languages"]),
            members={name: data["members"][name] for name in ("train", "valid", "test")},
            published=dict(data["examples"]),
            digest=digest_of({k: v for k, v in data.items() if k != "archives"}),
        )

    return read_description(place, "XNLI", parse)


def write_language(
    language: str, has_training: bool, sources: XnliSources, downloads: Downloads, folder: Path
) -> dict[str, Any]:
    """Write the examples of a language; return the record of the stage.

    All sets have labels, the test set too.

    Raises:
        LotteryError: an archive is missing or another one, or a table is malformed.
    """
    kinds = {"valid": "sets", "test": "sets"}
    if has_training:
        kinds = {"train": "translated", **kinds}
    archives = [sources.archives[kind] for kind in dict.fromkeys(kinds.values())]
    paths = downloads.fetch(archives)
    sets: dict[str, int] = {}
    malformed: dict[str, int] = {}
    counts: dict[str, int] = {}
    for name, kind in kinds.items():
        table = folder / f"{name}.tsv"
        extract(paths[kind], {sources.members[name].format(language): table})
        rows = Rows(table, _TRAIN if name == "train" else _SET, skips=name == "train")
        chosen: Iterable[tuple[str, ...]] = rows
        if name != "train":
            chosen = _of_language(rows, language)
        sets[name], found = write_examples(chosen, name, 2, LABELS, folder)
        malformed[name] = rows.malformed
        counts = counts or dict(found)
        table.unlink()
    return {
        "sets": sets,
        "labelled": list(sets),
        "labels": counts,
        "malformed": malformed,
        "sources": downloads.records(archives, paths),
    }


def refuse_unknown(languages: Iterable[str], sources: XnliSources) -> None:
    """Refuse a language that XNLI does not have."""
    for language in languages:
        if language not in sources.languages:
            raise LotteryError(
                f"XNLI does not have the language {language!r}; choose from"
                f" {', '.join(sources.languages)}"
            )


def _of_language(rows: Rows, language: str) -> Iterator[tuple[str, ...]]:
    """Yield both sentences and the label of each example of a language."""
    for first, second, label, name in rows:
        if name == language:
            yield first, second, label
