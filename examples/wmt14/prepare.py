#!/usr/bin/env python3
"""Prepare WMT14 for fairseq: download, check, clean, cut into subwords, binarise.

    python examples/wmt14/prepare.py en-de --out data/wmt14

Broken off at any point, the same command goes on with what is missing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of the shared modules

from preparation.command import add_common, parser_of, positive, require, versions
from preparation.download import Downloads
from preparation.ledger import FILE, Ledger
from preparation.wmt14.pair_sources import OFFICIAL, load_sources
from preparation.wmt14.plan import RESULTS, Job

from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.files import alone_in

PAIRS = ("en-de", "en-fr")


def main(arguments: Optional[list[str]] = None) -> None:
    """Run the stages that are missing, and say what there is then."""
    args = _parser().parse_args(arguments)
    with one_sentence():
        prepare(args)


def prepare(args: argparse.Namespace) -> None:
    """Make ``OUT/PAIR`` or ``OUT/PAIR-google``.

    Raises:
        LotteryError: whatever stands in the way, in one sentence.
    """
    google = args.bpe == "google"
    sources = load_sources(args.sources, args.pair)
    if google and not sources.google:
        raise LotteryError(f"Google has no archive for {args.pair}; use --bpe sentencepiece")
    if args.archive and not google:
        raise LotteryError("--archive is Google's archive; add --bpe google")
    require("fairseq", *(() if google else ("sacremoses", "sentencepiece")))
    settings = {"pair": args.pair, "bpe": args.bpe, "sources": sources.digest}
    if not google:
        settings |= {"vocabulary": args.vocabulary, "sample": args.sample}
    with alone_in(args.out):
        out = args.out / (f"{args.pair}-google" if google else args.pair)
        downloads = args.out / "downloads"
        downloads.mkdir(exist_ok=True)
        local = ((sources.google["train"].name, args.archive),) if args.archive else ()
        ledger = Ledger(out, settings, versions())
        source, target = args.pair.split("-")
        job = Job(
            out=out,
            pair=(source, target),
            sources=sources,
            downloads=Downloads(downloads, args.mirror, local),
            ledger=ledger,
            vocabulary=args.vocabulary,
            sample=args.sample,
            workers=args.workers,
        )
        stages = job.stages_of_google() if google else job.stages_of_sentencepiece()
        for name in RESULTS:
            ledger.ensure(stages, name)
    size = ledger.record("data-bin")["dictionary"]
    print(
        f"{out / 'data-bin'}: ready for fairseq-train, with a joined dictionary of {size:,} types;"
        f" references for sacreBLEU are {out / 'references' / f'test.{target}'}; {out / FILE} says"
        " how all of it was made"
    )


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    parser.add_argument("pair", choices=PAIRS)
    add_common(parser, OFFICIAL)
    parser.add_argument("--bpe", choices=("sentencepiece", "google"), default="sentencepiece")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="Google's wmt16_en_de.tar.gz")
    parser.add_argument(
        "--vocabulary",
        type=positive,
        default=33000,
        metavar="N",
        help="types of the joined dictionary, of sentencepiece (default: 33000)",
    )
    parser.add_argument(
        "--sample",
        type=positive,
        default=10_000_000,
        metavar="N",
        help="sentences to learn word pieces on (default: ten million)",
    )
    return parser


if __name__ == "__main__":
    main()
