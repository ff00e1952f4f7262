"""Report on finished run folders: tables, plots, significance tests, and one page with all.

Folders of one recipe are joined as further seeds; each other recipe gets tables of its own.
"""

import argparse

EXAMPLE = "fairseq-lottery report runs/en-de runs/en-de-seed3 --out docs/results --width 8cm"
REQUIRES = ("torch", "numpy", "safetensors", "matplotlib", "scipy", "sacrebleu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``report``."""
    add = parser.add_argument
    add("runs", nargs="+", help="output folders of fairseq-lottery run")
    add("--out", required=True, metavar="DIR", help="folder of the report")
    add("--width", default="16cm", metavar="CM|IN",
        help="width of the plots, as 8cm or 3.15in (default: 16cm)")  # fmt: skip
    add("--font-size", type=float, default=9, metavar="PT",
        help="font size of the plots in points (default: 9)")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Write the report, and print its paths."""
    from fairseq_lottery.report import size, write_report

    files = write_report(args.runs, args.out, size(args.width, args.font_size))
    for name in ("report.html", "report.md", "results.csv"):
        print(f"{args.out}/{name}")
    plots = sum(name.endswith(".svg") for name in files)
    tables = sum(name.endswith(".tex") for name in files)
    print(f"{tables} tables in {args.out}/tables, {plots} plots in {args.out}/figures")
