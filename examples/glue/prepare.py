#!/usr/bin/env python3
"""Prepare tasks of GLUE for fairseq's sentence_prediction, with the byte pairs of RoBERTa.

    python examples/glue/prepare.py RTE MRPC --out data/glue

The same command resumes a run that was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of the shared modules

from preparation.classification.encoders import BytePairs
from preparation.classification.glue import load_glue_sources, write_task
from preparation.classification.job import RESULT, Job
from preparation.classification.layout import described
from preparation.classification.tasks import TASKS
from preparation.command import add_common, parser_of, require, require_files, versions
from preparation.download import Downloads, checksums
from preparation.ledger import FILE, Ledger

from fairseq_lottery.errors import one_sentence
from fairseq_lottery.files import alone_in

OFFICIAL = Path(__file__).resolve().parent / "sources.json"
ALL = "ALL"
SUBWORDS = ("encoder.json", "vocab.bpe", "dict.txt")


def main(arguments: Optional[list[str]] = None) -> None:
    """Run the stages that are missing, and print what exists then."""
    args = _parser().parse_args(arguments)
    with one_sentence():
        prepare(args)


def prepare(args: argparse.Namespace) -> None:
    """Make ``OUT/TASK/data-bin`` of each task.

    Raises:
        LotteryError: a file is missing, malformed or another one than described.
    """
    require("fairseq", "regex")
    names = list(TASKS) if ALL in args.tasks else list(dict.fromkeys(args.tasks))
    with alone_in(args.out):
        folder = args.out / "downloads"
        folder.mkdir(exist_ok=True)
        downloads = Downloads(folder, args.mirror)
        for name in names:
            _prepare_task(name, args, downloads)


def _prepare_task(name: str, args: argparse.Namespace, downloads: Downloads) -> None:
    task, sources = TASKS[name], load_glue_sources(args.sources, name)
    if args.bpe is not None:
        files = require_files(args.bpe, SUBWORDS, "--bpe")
    else:
        paths = downloads.fetch(sources.subwords)
        files = [paths[archive.name] for archive in sources.subwords]
    subwords = {path.name: checksums(path)["sha256"] for path in files}
    out = args.out / name
    settings = {"task": name, "sources": sources.digest, "subwords": subwords}
    job = Job(
        out=out,
        inputs=len(task.inputs),
        labels=task.labels,
        encoder=BytePairs(*files),
        workers=args.workers,
        ledger=Ledger(out, settings, versions()),
        write_text=partial(write_task, task, sources, downloads),
    )
    sets = job.run()
    line = described(task.classes, sets, sources.published)
    print(f"{out / RESULT}: {line}; {out / FILE} has the record", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    parser.add_argument("tasks", nargs="+", choices=(*TASKS, ALL), metavar="TASK",
                        help=f"{', '.join(TASKS)} or {ALL}")  # fmt: skip
    add_common(parser, OFFICIAL)
    parser.add_argument(
        "--bpe",
        type=Path,
        metavar="FOLDER",
        help="folder with encoder.json, vocab.bpe and dict.txt (default: download them)",
    )
    return parser


if __name__ == "__main__":
    main()
