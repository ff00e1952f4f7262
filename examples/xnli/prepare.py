#!/usr/bin/env python3
"""Prepare languages of XNLI for fairseq's sentence_prediction, with the pieces of XLM-R.

    python examples/xnli/prepare.py en de sw --model xlmr.base --out data/xnli

A model is fine-tuned on English and evaluated in every language, so only English gets a training
set; --translated adds the machine-translated ones. The same command resumes an interrupted run.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of the shared modules

from preparation.classification.encoders import Pieces
from preparation.classification.job import RESULT, Job
from preparation.classification.layout import described
from preparation.classification.tasks import INFERENCE
from preparation.classification.xnli import load_xnli_sources, refuse_unknown, write_language
from preparation.command import add_common, parser_of, require, require_files, versions
from preparation.download import Downloads, checksums
from preparation.ledger import FILE, Ledger

from fairseq_lottery.errors import one_sentence
from fairseq_lottery.files import alone_in

OFFICIAL = Path(__file__).resolve().parent / "sources.json"
SUBWORDS = ("sentencepiece.bpe.model", "dict.txt")
ENGLISH = "en"


def main(arguments: Optional[list[str]] = None) -> None:
    """Run the stages that are missing, and print what exists then."""
    args = _parser().parse_args(arguments)
    with one_sentence():
        prepare(args)


def prepare(args: argparse.Namespace) -> None:
    """Make ``OUT/LANGUAGE/data-bin`` of each language.

    Raises:
        LotteryError: a file is missing, malformed or another one than described.
    """
    require("fairseq", "sentencepiece")
    sources = load_xnli_sources(args.sources)
    refuse_unknown(args.languages, sources)
    files = require_files(args.model, SUBWORDS, "--model")
    subwords = {path.name: checksums(path)["sha256"] for path in files}
    with alone_in(args.out):
        folder = args.out / "downloads"
        folder.mkdir(exist_ok=True)
        downloads = Downloads(folder, args.mirror)
        for language in dict.fromkeys(args.languages):
            has_training = language == ENGLISH or args.translated
            out = args.out / language
            settings = {
                "language": language,
                "training": has_training,
                "sources": sources.digest,
                "subwords": subwords,
            }
            job = Job(
                out=out,
                inputs=2,
                labels=INFERENCE,
                encoder=Pieces(*files),
                workers=args.workers,
                ledger=Ledger(out, settings, versions()),
                write_text=partial(write_language, language, has_training, sources, downloads),
            )
            line = described(len(INFERENCE), job.run(), sources.published)
            print(f"{out / RESULT}: {line}; {out / FILE} has the record", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    parser.add_argument("languages", nargs="+", metavar="LANGUAGE", help="such as en, de or sw")
    add_common(parser, OFFICIAL)
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="unpacked archive of xlmr.base or xlmr.large: its sentencepiece model and dictionary",
    )
    parser.add_argument(
        "--translated",
        action="store_true",
        help="training sets of all languages, also translated ones",
    )
    return parser


if __name__ == "__main__":
    main()
