"""Show tickets against random masks on a small translation task, in minutes.

It makes the task up, then calls fairseq-lottery run and fairseq-lottery report on it.
"""

import argparse
import warnings
from pathlib import Path

from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError

EXAMPLE = "fairseq-lottery demo --out demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the demo goes, its seed, and how many stages run at a time."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="its folder (default: demo)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the text and of all runs (default: 1)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=2,
        metavar="N",
        help="stages at a time, a core each (default: 2)",
    )
    parser.add_argument(
        "--data-only", action="store_true", help="make its text, subwords and data, and stop"
    )


def run(args: argparse.Namespace) -> None:
    """Run the demo; what is finished in its folder is not run again."""
    if args.jobs < 1:
        raise LotteryError(f"--jobs {args.jobs} runs nothing; give 1 or more")
    if args.seed < 0:
        raise LotteryError(f"--seed {args.seed} is negative; give 0 or more")
    require("torch", "fairseq", "sentencepiece")
    if not args.data_only:
        require("sacrebleu", "matplotlib", "rich", "yaml", "snakemake")
    from fairseq_lottery.demo.prepare import prepare

    configuration = prepare(args.out, args.seed)
    if args.data_only:
        print(f"{args.out / 'data'} and {args.out / 'text'} are ready")
    else:
        show(configuration, args.out, args.jobs)


def show(configuration: Path, out: Path, jobs: int) -> None:
    """Run a configuration and report on it, as these two commands would."""
    from fairseq_lottery.cli.main import build_parser

    report = out / "report"
    for words in (
        ["run", configuration, "--jobs", jobs],
        ["report", out / "runs", "--out", report],
    ):
        command = [str(word) for word in words]
        print(f"$ fairseq-lottery {' '.join(command)}", flush=True)
        parsed = build_parser().parse_args(command)
        parsed.run(parsed)
    print()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fairseq's and torch's, about themselves
        from fairseq_lottery.demo import outcome, ticket_size

        for line in (*ticket_size.lines(out / "runs"), *outcome.lines(report)):
            print(line)
