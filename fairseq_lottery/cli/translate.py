"""Translate lines of text on a CPU; a compact file opens without being made dense.

Reads sentences from standard input, one a line, in the form of the model's training data: symbols
of the source dictionary, separated by spaces. Prints one translation a line.
"""

import argparse
import sys
from itertools import islice

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError

EXAMPLE = "fairseq-lottery translate slt90.safetensors --data bin --remove-bpe <test.en >test.de"
REQUIRES = ("torch", "numpy", "safetensors", "fairseq")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``translate``."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="compact file or checkpoint; also a ticket or snapshot")
    add("--data", metavar="FOLDER", help="folder with the dictionaries (that of the training)")
    add("--beam", type=int, default=5, metavar="N", help="number of hypotheses (5)")
    add("--lenpen", type=float, default=1.0, metavar="X", help="exponent of the length by which"
        " scores are divided (1.0)")  # fmt: skip
    add("--max-len-a", type=float, default=0.0, metavar="A", help="longest translation: A x source"
        " tokens + B (0.0)")  # fmt: skip
    add("--max-len-b", type=int, default=200, metavar="B", help="longest translation (200)")
    add("--remove-bpe", nargs="?", const="@@ ", metavar="NAME", help="join subwords, as"
        " fairseq's flag: sentencepiece, wordpiece, ... ('@@ ' without a value)")  # fmt: skip
    add("--batch-size", type=int, default=16, metavar="N", help="lines that are translated"
        " together (16)")  # fmt: skip
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Print the translation of each line."""
    from fairseq_lottery.files import refuse_missing

    if args.batch_size < 1:
        raise LotteryError(f"--batch-size {args.batch_size} is less than 1; give at least 1")
    refuse_missing(args.model)
    import fairseq  # noqa: F401 - before the plugin, which registers with it

    import_user_module(args.user_dir)
    from fairseq_lottery.inference.translation import TranslationOptions, open_translator

    options = TranslationOptions(
        beam=args.beam,
        lenpen=args.lenpen,
        max_len_a=args.max_len_a,
        max_len_b=args.max_len_b,
        remove_bpe=args.remove_bpe,
    )
    translator = open_translator(args.model, args.data, options)
    while lines := list(islice(sys.stdin, args.batch_size)):
        for translation in translator.translate(lines):
            print(translation)
        sys.stdout.flush()
