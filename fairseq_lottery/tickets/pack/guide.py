"""Commands that train the ticket of an unpacked archive, and the README with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fairseq_lottery.adapters import Preprocessing, TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.tickets.pack.manifest import SUBWORDS
from fairseq_lottery.tickets.pack.train_command import DATA, TrainingCommand

_SENTENCEPIECE = (
    "python -c 'import sys, sentencepiece\n"
    "model = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])\n"
    'for line in sys.stdin: print(" ".join(model.encode(line.strip(), out_type=str)))\' {file}'
)
_SUBWORD_NMT = "subword-nmt apply-bpe --codes {file}"


def preprocessing_of(task: TaskAdapter) -> Preprocessing:
    """Return how ``fairseq-preprocess`` makes the data of a task.

    Raises:
        LotteryError: the adapter does not define it.
    """
    if task.preprocessing is None:
        raise LotteryError(
            f"the adapter of task {task.name} has no preprocessing, which the README of an archive"
            " requires; share the ticket file itself"
        )
    return task.preprocessing


def steps(command: TrainingCommand, subwords: Mapping[str, bytes]) -> str:
    """Return the commands from text to a trained model.

    Args:
        subwords: name of each subword file -> its content, or the first bytes.
    """
    preprocessing = preprocessing_of(command.task)
    texts, endings = preprocessing.texts, tuple(command.data.values())
    each = f", each {_listed(f'.{ending}' for ending in endings)}" if endings else ""
    parts = f"{_listed(texts)}{each}, one sentence per line"
    models = [name for name in subwords if name.endswith(".model")]
    codes = [name for name, content in subwords.items() if content.startswith(b"#version")]
    if len(models + codes) == 1:  # only then is the tool that cuts the text known
        tool = _SENTENCEPIECE if models else _SUBWORD_NMT
        names = ".".join(f"{{{','.join(part)}}}" for part in (texts, endings) if part)
        text = [
            f"# your text is in raw/: {parts}",
            "mkdir -p text",
            f"for name in {names}; do",
            f'{tool.format(file=f"{SUBWORDS}/{(models + codes)[0]}")} <"raw/$name" >"text/$name"',
            "done",
        ]
    else:
        how = (
            f"the files in {SUBWORDS}/"
            if subwords
            else "the subwords of the ticket's dictionaries (this archive has no subword model)"
        )
        text = [f"# your text is in text/, cut with {how}:", f"# {parts}"]
    files = command.folder(Path()).files.values()
    rows = (
        ("fairseq-preprocess", *preprocessing.flags, *map(" ".join, command.data_flags)),
        [f"--{text}pref text/{text}" for text in texts],
        [*map(" ".join, zip(preprocessing.dictionary_flags, files)), f"--destdir {DATA}"],
    )
    binary = " \\\n    ".join(map(" ".join, rows))
    return "\n".join([*text, "", binary, "", command.text()])


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def readme(command: TrainingCommand, subwords: Mapping[str, bytes], signature: str) -> str:
    """Return the README of an archive."""
    return (
        "A lottery ticket for fairseq: a mask and the weights that training starts from.\n"
        f"{signature}\n\n"
        "To train it, install fairseq and fairseq_lottery and run in this folder, in bash:\n\n"
        f"{steps(command, subwords)}\n"
        "fairseq-lottery inspect ticket.safetensors   shows the ticket\n"
        "record.json    where it comes from: digest, signature, versions\n"
        "manifest.json  size and SHA-256 of every file (in the archive)\n\n"
        "A dictionary in which every count is 1 was written from the ticket, which knows the\n"
        "symbols and their order only; training needs no more.\n"
    )
