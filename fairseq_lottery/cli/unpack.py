"""Unpack a shared ticket: verify the archive, and print the commands that train the ticket."""

import argparse
import shlex

EXAMPLE = "fairseq-lottery unpack slt50.zip --out unpacked"
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``unpack``."""
    parser.add_argument("archive", help="archive written by fairseq-lottery pack")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder to unpack into")


def run(args: argparse.Namespace) -> None:
    """Unpack the archive, and print the next commands."""
    from fairseq_lottery.files import refuse_missing

    refuse_missing(args.archive)
    from fairseq_lottery.tickets.pack import unpack

    ticket, steps = unpack(args.archive, args.out)
    print(f"{args.out}: ticket {ticket.digest()}")
    print(f"{ticket.record['signature']}\n")
    print(f"cd {shlex.quote(args.out)}\n{steps}", end="")
