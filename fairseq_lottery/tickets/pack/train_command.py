"""The ``fairseq-train`` line of a ticket, without what belongs to one machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from fairseq_lottery.adapters import DataFolder, TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.python_literals import is_plain_value
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.formats.entry_checks import entries, list_of, one_of
from fairseq_lottery.options import (
    GROUPS,
    TRAINING,
    Prunable,
    Ranking,
    Reset,
    Seed,
    Sources,
    options,
)

#: where a packed command looks for the ticket and the data and writes its checkpoints
TICKET, DATA, SAVE_DIR = "ticket.safetensors", "data-bin", "checkpoints"
USER_DIR = "$(fairseq-lottery user-dir)"

#: what --ticket replaces; fairseq_lottery.tasks refuses each of them beside it
DRAWING = tuple(one.flag_in(TRAINING) for one in options(Sources, Reset, Prunable))
#: what ranks weights: a command with a ticket requires it only to prune further
RANKING = tuple(one.flag_in(TRAINING) for one in options(Ranking, Seed))
#: flags of commands that were recorded or packed before -> their names
_RENAMED = {
    f"--{one.stored}": one.flag_in(TRAINING)
    for one in options(*GROUPS, place=TRAINING)
    if one.stored
}
#: every option's flag, and those that may name code of a user's own -> what it is called
_OPTIONS = {one.flag_in(TRAINING): one.axis for one in options(*GROUPS, place=TRAINING)}
_CODE = {flag: axis.title for flag, axis in _OPTIONS.items() if axis and axis.takes_code}
_LOGS = ("--tensorboard-logdir", "--log-file", "--wandb-project")
_PLACED = ("--task", "--user-dir", "--save-dir", "--ticket")
_FILES = (
    *("--restore-file", "--finetune-from-model", "--continue-once"),
    *("--encoder-embed-path", "--decoder-embed-path"),
)
_SHORT = {"-s": "--source-lang", "-t": "--target-lang", "-a": "--arch", **_RENAMED}

#: a language, or another value of a flag about the data, as it stands in the names of files
DATA_VALUE = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_FLAG = re.compile(r"--?[A-Za-z]")
_FLAG_NAME = re.compile(r"--?[A-Za-z][A-Za-z0-9_-]*")
#: of a command in characters; shlex takes a second for this many
_LONGEST = 100_000
#: a line break before an indented line or a flag, as in a variable that spans several lines
_CONTINUED = re.compile(r"\n(?=[ \t]|-)")
_SHELL = re.compile(r"[$`|&;<>#\\]")

Flags = list[tuple[str, list[str]]]


@dataclass(frozen=True)
class TrainingCommand:
    """How a ticket is trained, from a folder that holds it.

    Attributes:
        task: what is trained.
        data: name of a data flag of the task -> its value, as ``source`` -> ``en``.
        flags: every other flag with its values, in the order of the line; those with paths
            are not among them.
    """

    task: TaskAdapter
    data: Mapping[str, str]
    flags: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def data_flags(self) -> list[tuple[str, str]]:
        """The flags about the data with their values, which ``fairseq-preprocess`` takes too."""
        return [(self.task.data_flags[name], value) for name, value in self.data.items()]

    def folder(self, path: Path) -> DataFolder:
        """Return the data folder at ``path``, with the dictionaries that this command reads."""
        settings = {flag[2:].replace("-", "_"): value for flag, value in self.data_flags}
        return self.task.folder(path, settings)

    def text(self) -> str:
        """The command for a shell, a flag per line; ``parse`` of it gives this command."""
        rows = [
            ("fairseq-train", DATA),
            *self.data_flags,
            *(("--user-dir", USER_DIR), ("--task", self.task.lottery_task)),
            *(("--ticket", TICKET), ("--save-dir", SAVE_DIR)),
            *((flag, *values) for flag, values in self.flags),
        ]
        quoted = " \\\n    ".join(map(shlex.join, rows)) + "\n"
        return quoted.replace(f"'{USER_DIR}'", f'"{USER_DIR}"')

    @classmethod
    def parse(cls, text: str, task: TaskAdapter, inferred: Sequence[str] = ()) -> TrainingCommand:
        """Read the one ``fairseq-train`` line of ``text``.

        Args:
            text: lines for a shell (``#`` starts a comment line, an indented line or one that
                starts with a flag continues the line before), or the JSON record of a stage,
                whose ``command`` is the list of words.
            task: the ticket's.
            inferred: values of the task's data flags, for those that the line does not have.

        Raises:
            LotteryError: no such line or more than one, a line that trains no ticket or another
                task, or a flag that cannot be taken to another machine.
        """
        words = _words(text)
        if not all(map(str.isprintable, words)):  # anybody's file, shown on a terminal
            raise LotteryError("the command holds characters that cannot be printed")
        flags = _flags(words)
        _refuse_shortened(flags, task)
        last = {flag: values for flag, values in flags}
        if not {"--ticket", "--mask-from"} & set(last):
            raise LotteryError(
                "the command has neither --ticket nor --mask-from, so it trains no ticket; give"
                " the command that this ticket is trained with"
            )
        if last.get("--task") != [task.lottery_task]:
            raise LotteryError(
                f"the command has no --task {task.lottery_task}, which reads this ticket; add it"
            )
        plugin = last.get("--user-dir", [USER_DIR])
        if plugin != [USER_DIR] and [Path(name).name for name in plugin] != ["fairseq_lottery"]:
            raise LotteryError(
                f"the command's --user-dir {' '.join(plugin)} is not fairseq_lottery, and an"
                " archive carries no code; train with"
                f' --user-dir "{USER_DIR}"'
            )
        data = {
            name: (last.get(flag) or [other])[0]
            for (name, flag), other in zip(task.data_flags.items(), inferred or repeat(""))
        }
        if not all(re.fullmatch(DATA_VALUE, value) for value in data.values()):
            raise LotteryError(
                f"the command does not have {' and '.join(task.data_flags.values())} with plain"
                " names; add them, or say with --data where the binary data is"
            )
        dropped = {*DRAWING, *_LOGS, *_PLACED, *task.data_flags.values()}
        dropped.update(RANKING if "--prune-to" not in last else ())
        kept = tuple((flag, tuple(values)) for flag, values in flags if flag not in dropped)
        for flag, values in kept:
            _refuse_bound(flag, values)
        return cls(task, data, kept)


def _words(text: str) -> list[str]:
    """The words behind ``fairseq-train``."""
    if text.lstrip().startswith("{"):
        try:
            record = read_json(text, allow_nan=True)
            entries({"command": list_of(one_of(str))}, needed=("command",))(record, "record", 0)
        except ValueError as error:
            raise LotteryError(f"the command file is no record of a stage ({error})") from None
        lines = [record["command"]]
    else:
        if len(text) > _LONGEST:
            raise LotteryError(f"the command has {len(text)} characters, as no command has")
        whole = re.sub(r'"?\$\(fairseq-lottery user-dir\)"?', f"'{USER_DIR}'", text)
        rows = whole.replace("\\\n", " ").splitlines()
        joined = "\n".join(row for row in rows if not row.lstrip().startswith("#"))
        try:
            lines = [shlex.split(row) for row in _CONTINUED.sub(" ", joined).splitlines()]
        except ValueError as error:
            raise LotteryError(f"the command is no line for a shell ({error})") from None
    lines = [line for line in lines if line]
    if len(lines) != 1:
        raise LotteryError(
            f"the command file has {len(lines)} commands; leave the fairseq-train line only"
        )
    line = lines[0]
    if Path(line[0]).name == "fairseq-train":
        return line[1:]
    if line[1:3] in (["-m", "fairseq_cli.train"], ["-m", "fairseq_lottery.launch"]):
        return line[3:]
    raise LotteryError(
        f"the command starts with {line[0]!r}; give the line from fairseq-train on, for one process"
    )


def _flags(words: list[str]) -> Flags:
    """Sort words into flags and their values; the first is the data."""
    if not words or _FLAG.match(words[0]):
        raise LotteryError("the command has no data folder directly behind fairseq-train")
    flags: Flags = []
    for word in words[1:]:
        if _FLAG.match(word):
            flag, equals, value = word.partition("=")
            flags.append((_SHORT.get(flag, flag), [value] if equals else []))
        elif flags:
            flags[-1][1].append(word)
        else:
            raise LotteryError(f"the command has {word!r} where its first flag should be")
    return flags


def _refuse_shortened(flags: Flags, task: TaskAdapter) -> None:
    """argparse completes a shortened flag, which would then pass by unseen here."""
    special = (*_OPTIONS, *_LOGS, *_PLACED, *_FILES, *task.data_flags.values())
    for flag, _ in flags:
        whole = [name for name in special if name.startswith(flag)]
        # --score is whole, and the start of --score-file
        if whole and flag not in whole:
            raise LotteryError(f"the command has {flag}; write it in full, for example {whole[0]}")


def _refuse_bound(flag: str, values: Sequence[str]) -> None:
    """Refuse what means something else, or nothing, in another folder or shell."""
    given = f"the command's {flag} {' '.join(values)}".rstrip()
    if _SHELL.search(flag) or any(map(_SHELL.search, values)):
        raise LotteryError(
            f"{given} holds characters that a shell acts on; write one plain command, with the"
            " values in place of variables"
        )
    if flag in _FILES or any("/" in value for value in values):
        raise LotteryError(
            f"{given} names a file that the archive does not hold; give the command without it"
        )
    if not _FLAG_NAME.fullmatch(flag) or not all(map(is_plain_value, values)):
        raise LotteryError(
            f"{given} is not a plain value, and fairseq may evaluate it as Python; write words,"
            " numbers, or a literal such as '(0.9, 0.98)'"
        )
    if flag in _CODE and any(":" in value for value in values):
        raise LotteryError(
            f"{given} names code of your own, and an archive carries no code; train with a"
            f" {_CODE[flag]} of fairseq_lottery"
        )
