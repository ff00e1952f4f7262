#!/usr/bin/env python3
"""Prepare WMT14 for fairseq: download, check, clean, cut into subwords, binarise.

    python examples/wmt14/prepare.py en-de --out data/wmt14

Broken off at any point, the same command goes on with what is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Optional

from preparation.download import Downloads
from preparation.ledger import FILE, Ledger
from preparation.plan import RESULTS, Job
from preparation.sources import OFFICIAL, load_sources

from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.files import alone_in

PAIRS = ("en-de", "en-fr")
PACKAGES = ("fairseq", "fairseq-fixed", "fairseq-lottery", "sacremoses", "sentencepiece", "torch")


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
    _require("fairseq", *(() if google else ("sacremoses", "sentencepiece")))
    settings = {"pair": args.pair, "bpe": args.bpe, "sources": sources.digest}
    if not google:
        settings |= {"vocabulary": args.vocabulary, "sample": args.sample}
    with alone_in(args.out):
        out = args.out / (f"{args.pair}-google" if google else args.pair)
        downloads = args.out / "downloads"
        downloads.mkdir(exist_ok=True)
        local = ((sources.google["train"].name, args.archive),) if args.archive else ()
        ledger = Ledger(out, settings, _versions())
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pair", choices=PAIRS)
    parser.add_argument("--out", type=Path, required=True, help="folder of all that is written")
    parser.add_argument("--bpe", choices=("sentencepiece", "google"), default="sentencepiece")
    parser.add_argument("--mirror", metavar="URL", help="a folder with the same archives")
    parser.add_argument(
        "--sources",
        metavar="FILE",
        default=str(OFFICIAL),
        help="description of the archives, a file or an address (default: sources.json)",
    )
    parser.add_argument("--archive", type=Path, metavar="FILE", help="Google's wmt16_en_de.tar.gz")
    parser.add_argument(
        "--vocabulary",
        type=_positive,
        default=33000,
        metavar="N",
        help="types of the joined dictionary, of sentencepiece (default: 33000)",
    )
    parser.add_argument(
        "--sample",
        type=_positive,
        default=10_000_000,
        metavar="N",
        help="sentences to learn word pieces on (default: ten million)",
    )
    parser.add_argument("--workers", type=_positive, default=os.cpu_count() or 1, metavar="N")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _require(*packages: str) -> None:
    from importlib.util import find_spec

    for package in packages:
        if find_spec(package) is None:
            raise LotteryError(
                f"{package} is not installed in {sys.executable}; install it with: pip install"
                f" {package}"
            )


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


if __name__ == "__main__":
    main()
