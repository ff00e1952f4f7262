"""Entry point: run a subcommand, and turn bad input into one sentence and exit code 2."""

import argparse
import importlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, Callable, Optional, TextIO, TypeVar, cast

from fairseq_lottery import __version__
from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError

T = TypeVar("T")

#: name -> module, relative to the package
COMMANDS = {
    "user-dir": "cli.user_dir",
    "doctor": "cli.doctor",
    "ticket": "cli.ticket",
    "inspect": "cli.inspect",
    "compare": "cli.compare",
    "pair-masks": "cli.pair_masks",
    "export": "cli.export",
    "average": "cli.average",
    "evaluate": "cli.evaluate",
    "gradients": "cli.gradients",
    "translate": "cli.translate",
    "pack": "cli.pack",
    "unpack": "cli.unpack",
    "heads": "heads.commands",
    "record": "analysis.commands.record",
    "similarity": "analysis.commands.similarity",
    "complexity": "analysis.commands.complexity",
    "early-bird": "analysis.commands.early_bird",
    "roles": "analysis.commands.roles",
    "analyze": "analysis.commands.analyze",
    "probe": "analysis.commands.probe",
    "connect": "analysis.commands.connect",
    "languages": "languages.commands",
    "run": "cli.run",
    "report": "cli.report",
    "demo": "cli.demo",
}


def build_parser(complete: Collection[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of ``fairseq-lottery`` with every subcommand.

    Args:
        complete: subcommands whose arguments are added, which takes time; others are only listed.
    """
    parser = argparse.ArgumentParser(
        prog="fairseq-lottery",
        description="Lottery tickets and magnitude pruning for fairseq translation.",
    )
    parser.add_argument("--version", action="version", version=f"fairseq-lottery {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(f"fairseq_lottery.{module_name}")
        command = commands.add_parser(
            name,
            help=(module.__doc__ or "").splitlines()[0],
            description=module.__doc__,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if name in complete:
            module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def execute(args: argparse.Namespace) -> None:
    """Run a parsed subcommand.

    Raises:
        LotteryError: a package that the subcommand requires is not installed.
    """
    module = importlib.import_module(f"fairseq_lottery.{COMMANDS[args.command]}")
    require(*getattr(module, "REQUIRES", ()))
    args.run(args)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide what libraries log below warnings, and warnings of Python about fairseq's code.

    fairseq logs each file that it reads, and makes other libraries log too. Python warns each time
    it compiles a file, and torch about the masks that fairseq's decoder passes.
    """
    loggers = [logging.getLogger(name) for name in ("fairseq", "h5py", "matplotlib", "fontTools")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=SyntaxWarning, module=r".*[/\\]fairseq[/\\]")
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def refuse_empty(words: Sequence[str]) -> None:
    """Refuse an argument without a character: in a script it is a variable that is not set."""
    for number, word in enumerate(words):
        if not word:
            raise LotteryError(
                f"the argument after {words[number - 1]} is empty; give a value, or omit the option"
            )
        if re.fullmatch(r"--[\w-]+=", word):
            raise LotteryError(f"{word} has no value; give one, or omit the option")


class _Output:
    """The standard output: raises ``LotteryError``, or ``BrokenPipeError`` if its reader stops."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._attempt(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            # flushing the rest of the buffer at exit would fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            if isinstance(error, BrokenPipeError):
                raise
            raise LotteryError(f"the output cannot be written: {error.strerror}") from error


@contextmanager
def checked_output() -> Iterator[None]:
    """Raise ``LotteryError`` if the standard output cannot be written, and flush it at the end."""
    if sys.stdout is None:  # it was closed before Python started
        yield
        return
    with redirect_stdout(cast(TextIO, _Output(sys.stdout))):
        try:
            yield
        except BaseException:
            with suppress(LotteryError, BrokenPipeError):  # that error is the first
                sys.stdout.flush()
            raise
        sys.stdout.flush()


def main(argv: Optional[list[str]] = None) -> int:
    """Run one subcommand, and return the exit code (0: success, 2: bad input)."""
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words).parse_args(words)
    try:
        with quiet_libraries(), checked_output():
            refuse_empty(words)
            execute(args)
    except LotteryError as error:
        if args.debug:
            raise
        print(f"fairseq-lottery: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    return 0


if __name__ == "__main__":
    sys.exit(main())
