"""Write the text of classification tasks, and of documents to pre-train on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

#: table of the tasks, beside their text
TABLE = "tasks.tsv"


class Example(NamedTuple):
    """One or two sentences, and their label or score."""

    texts: tuple[str, ...]
    label: str


def sizes_of(words: Iterable[str]) -> dict[str, int]:
    """Return the sizes of ``PART=SIZE`` words."""
    return {part: int(size) for part, size in (word.split("=") for word in words)}


def write_documents(folder: Path, documents: Iterator[list[str]], sizes: Mapping[str, int]) -> None:
    """Write pretrain/PART.txt: a sentence a line, and an empty line after each document."""
    (folder / "pretrain").mkdir(parents=True)
    for part, size in sizes.items():
        with open(folder / "pretrain" / f"{part}.txt", "w", encoding="utf-8") as file:
            for _ in range(size):
                file.write("".join(f"{sentence}\n" for sentence in next(documents)) + "\n")


def write_examples(
    folder: Path, part: str, examples: Sequence[Example], labels: Sequence[str]
) -> None:
    """Write PART.input0, PART.input1 for pairs, and PART.label.

    Args:
        labels: the labels, whose place in it is written, because fairseq computes F1 and Matthews'
            correlation of integers only; none for scores, which are written as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, texts in enumerate(zip(*(example.texts for example in examples))):
        write_lines(folder / f"{part}.input{number}", texts)
    numbers = {label: str(number) for number, label in enumerate(labels)}
    column = (numbers.get(example.label, example.label) for example in examples)
    write_lines(folder / f"{part}.label", column)


def write_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a table as TSV."""
    write_lines(path, ("\t".join(row) for row in rows))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines of text."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
