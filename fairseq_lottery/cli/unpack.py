"""Unpack a shared ticket: verify the archive, and print the commands that train the ticket."""

import argparse

EXAMPLE = "fairseq-lottery unpack slt50.zip --out unpacked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``unpack``."""
    parser.add_argument("archive", help="archive written by fairseq-lottery pack")
    parser.add_argument("--out", required=True, metavar="DIR", help="new folder to unpack into")


def run(args: argparse.Namespace) -> None:
    """Unpack the archive, and print the next commands."""
    import shlex

    from fairseq_lottery.environment import require
    from fairseq_lottery.files import refuse_missing

    refuse_missing(args.archive)
    for package in ("torch", "numpy", "safetensors"):
        require(package)
    from fairseq_lottery.tickets.pack import unpack

    ticket, steps = unpack(args.archive, args.out)
    print(f"{args.out}: ticket {ticket.digest()}")
    print(f"{ticket.record['signature']}\n")
    print(f"cd {shlex.quote(args.out)}\n{steps}", end="")
