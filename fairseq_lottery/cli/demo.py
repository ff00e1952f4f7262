"""Compare tickets with random masks on a small translation task, in minutes.

The command generates the data, then calls fairseq-lottery run and fairseq-lottery report.
"""

import argparse
import warnings
from pathlib import Path

from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError

#: kind of data -> folders that a training reads
KINDS = {
    "translation": ("data", "text"),
    "encoders": ("pretrain", "tasks"),
    "languages": ("translation", "pretrain", "tasks"),
}
EXAMPLE = "fairseq-lottery demo --out demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``demo``."""
    add = parser.add_argument
    add("--kind", choices=tuple(KINDS), default="translation",
        help="kind of data: translation of one language pair, tasks for encoders, or translation"
        " and entailment in six languages; the last two require --data-only"
        " (default: translation)")  # fmt: skip
    add("--out", type=Path, default=Path("demo"), metavar="DIR",
        help="folder of the demo (default: demo)")  # fmt: skip
    add("--seed", type=int, default=1, metavar="N", help="seed of text and runs (default: 1)")
    add("--jobs", type=int, default=2, metavar="N",
        help="number of parallel stages, one core each (default: 2)")  # fmt: skip
    add("--data-only", action="store_true", help="only create text, subwords and binary data")
    add("--labels", action="store_true", help="also write labels of the words beside the text:"
        " CoNLL-U, agreement and alignment, for probe and roles")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Run the demo; skip stages that are finished in its folder."""
    if args.jobs < 1:
        raise LotteryError(f"--jobs {args.jobs} is too small; give 1 or more")
    if args.seed < 0:
        raise LotteryError(f"--seed {args.seed} is negative; give 0 or more")
    if args.kind != "translation":
        if not args.data_only:
            raise LotteryError(f"--kind {args.kind} requires --data-only")
        if args.labels:
            raise LotteryError(f"--kind {args.kind} has no --labels; remove the flag")
    require("torch", "fairseq", "sentencepiece")
    if not args.data_only:
        require("sacrebleu", "matplotlib", "scipy", "rich", "yaml", "snakemake")
    configuration = _prepare(args)
    if args.data_only:
        *folders, last = (str(args.out / folder) for folder in KINDS[args.kind])
        print(f"{', '.join(folders)} and {last} are ready")
    else:
        show(configuration, args.out, args.jobs)


def _prepare(args: argparse.Namespace) -> Path:
    """Create the data, and return the configuration of the demo, which only translation has."""
    if args.kind == "encoders":
        from fairseq_lottery.demo.encoders import prepare as encoders

        encoders.prepare(args.out, args.seed)
    elif args.kind == "languages":
        from fairseq_lottery.demo.languages import prepare as languages

        languages.prepare(args.out, args.seed)
    else:
        from fairseq_lottery.demo import prepare

        return prepare.prepare(args.out, args.seed, labels=args.labels)
    return args.out


def show(configuration: Path, out: Path, jobs: int) -> None:
    """Run the commands ``run`` and ``report`` for a configuration, and print the outcome."""
    from fairseq_lottery.cli.main import build_parser, execute

    report = out / "report"
    for arguments in (
        ["run", configuration, "--jobs", jobs],
        ["report", out / "runs", "--out", report],
    ):
        command = [str(argument) for argument in arguments]
        print(f"$ fairseq-lottery {' '.join(command)}", flush=True)
        execute(build_parser().parse_args(command))
    print()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside fairseq and torch
        from fairseq_lottery.demo.outcome import report_lines, size_lines

        for line in (*size_lines(out / "runs"), *report_lines(report)):
            print(line)
