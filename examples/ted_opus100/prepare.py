#!/usr/bin/env python3
"""Prepare TED talks or OPUS-100 for one model that translates many languages to and from English.

    python examples/ted_opus100/prepare.py ted de ru zh-cn --out data/ted
    python examples/ted_opus100/prepare.py opus-100 de ru zh --out data/opus-100

The data are those of fairseq's translation_multi_simple_epoch, with one joined dictionary. The same
command resumes a run that was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of the shared modules

from preparation.command import add_common, parser_of, positive, require, versions
from preparation.download import Downloads
from preparation.ledger import FILE, Ledger
from preparation.many_languages.corpora import ENGLISH, load_opus, load_ted, refuse_unknown
from preparation.many_languages.extraction import code_of, write_opus, write_ted
from preparation.many_languages.job import LANGUAGES, Job

from fairseq_lottery.errors import one_sentence
from fairseq_lottery.files import alone_in

OFFICIAL = Path(__file__).resolve().parent / "sources.json"
CORPORA = ("ted", "opus-100")


def main(arguments: Optional[list[str]] = None) -> None:
    """Run the stages that are missing, and print what exists then."""
    args = _parser().parse_args(arguments)
    with one_sentence():
        prepare(args)


def prepare(args: argparse.Namespace) -> None:
    """Make ``OUT/data-bin`` with a pair for each language.

    Raises:
        LotteryError: a file is missing, malformed or another one than described.
    """
    require("fairseq", "sacremoses", "sentencepiece")
    languages = list(dict.fromkeys(args.languages))
    write: Callable[..., dict[str, Any]]
    if args.corpus == "ted":
        ted = load_ted(args.sources)
        refuse_unknown(languages, ted.languages, "the corpus of TED talks")
        digest, write = ted.digest, partial(write_ted, ted)
    else:
        opus = load_opus(args.sources)
        refuse_unknown(languages, opus.pairs, "OPUS-100")
        digest, write = opus.digest, partial(write_opus, opus)
    settings = {
        "corpus": args.corpus,
        "languages": languages,
        "sources": digest,
        "vocabulary": args.vocabulary,
        "sample": args.sample,
    }
    with alone_in(args.out):
        folder = args.out / "downloads"
        folder.mkdir(exist_ok=True)
        downloads = Downloads(folder, args.mirror)
        out = args.out / "-".join((ENGLISH, *languages))
        job = Job(
            out=out,
            languages=[code_of(language) for language in languages],
            write_raw=partial(write, languages, downloads),
            vocabulary=args.vocabulary,
            sample=args.sample,
            workers=args.workers,
            ledger=Ledger(out, settings, versions()),
        )
        sentences = job.run()
    for pair, sets in sentences.items():
        print(f"{pair}: " + ", ".join(f"{name} {count:,}" for name, count in sets.items()))
    directions = [d for pair in sentences for d in (pair, "-".join(pair.split("-")[::-1]))]
    print(
        f"{out / 'data-bin'}: --lang-pairs {','.join(directions)} --lang-dict"
        f" {out / 'data-bin' / LANGUAGES}; {out / FILE} has the record",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(__doc__)
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("languages", nargs="+", metavar="LANGUAGE", help="besides English")
    add_common(parser, OFFICIAL)
    parser.add_argument(
        "--vocabulary",
        type=positive,
        default=32000,
        metavar="N",
        help="types of the joined dictionary of all languages (default: 32000)",
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
