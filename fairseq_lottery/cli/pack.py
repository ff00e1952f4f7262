"""Pack a ticket with dictionaries, subword model, command and record into one file to share."""

import argparse

EXAMPLE = (
    "fairseq-lottery pack slt50.safetensors --command train.txt --data data-bin"
    " --subwords spm.model --out slt50.zip"
)
REQUIRES = ("torch", "numpy", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pack``."""
    add = parser.add_argument
    add("ticket", help="ticket to share")
    add("--out", required=True, metavar="FILE", help="archive to write, as .zip")
    add("--command", required=True, metavar="FILE", dest="command_file",
        help="text file with the fairseq-train command, or the record of a stage")  # fmt: skip
    add("--data", metavar="DIR", help="folder of binary data whose dictionaries are packed")
    add("--subwords", nargs="+", default=[], metavar="FILE", help="subword model or BPE codes")
    add("--overwrite", action="store_true", help="replace --out if it exists")


def run(args: argparse.Namespace) -> None:
    """Pack the ticket, and print the contents of the archive."""
    from fairseq_lottery.tickets.pack import pack

    ticket, sizes = pack(
        args.ticket, args.out, args.command_file, args.data, args.subwords, args.overwrite
    )
    if not args.subwords:
        print("warning: without --subwords, others cannot segment text as in the ticket's training")
    for name, size in sorted(sizes.items()):
        print(f"{size:>12,}  {name}")
    print(f"{args.out}: ticket {ticket.digest()}")
    print(ticket.record["signature"])
