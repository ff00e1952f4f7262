"""Pack a ticket to share: with dictionaries, subword model, command and record, in one file."""

import argparse

EXAMPLE = (
    "fairseq-lottery pack slt50.safetensors --command train.txt --data data-bin"
    " --subwords spm.model --out slt50.zip"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The ticket and what goes with it."""
    add = parser.add_argument
    add("ticket", help="ticket to share")
    add("--out", required=True, metavar="FILE", help="archive to write, as .zip")
    add("--command", required=True, metavar="FILE", dest="command_file",
        help="text file with the fairseq-train line, or a stage's record of it")  # fmt: skip
    add("--data", metavar="DIR", help="binary data: pack its dictionaries, with their counts")
    add("--subwords", nargs="+", default=[], metavar="FILE", help="subword model or BPE codes")
    add("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    """Pack, and say what is in it."""
    from fairseq_lottery.environment import require

    for package in ("torch", "numpy", "safetensors"):
        require(package)
    from fairseq_lottery.tickets.pack import pack

    ticket, sizes = pack(
        args.ticket, args.out, args.command_file, args.data, args.subwords, args.overwrite
    )
    if not args.subwords:
        print("warning: without --subwords nobody else can cut text as the ticket's was cut")
    for name, size in sorted(sizes.items()):
        print(f"{size:>12,}  {name}")
    print(f"{args.out}: ticket {ticket.digest()}")
    print(ticket.record["signature"])
