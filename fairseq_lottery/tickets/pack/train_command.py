"""The ``fairseq-train`` command of a ticket, without the settings of one machine."""

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
    MaskControl,
    Prunable,
    Ranking,
    Reset,
    Seed,
    Sources,
    options,
)

#: paths of a packed command
TICKET, DATA, SAVE_DIR = "ticket.safetensors", "data-bin", "checkpoints"
USER_DIR = "$(fairseq-lottery user-dir)"

#: flags that --ticket replaces; fairseq_lottery.tasks refuses them together with --ticket
DRAWING = tuple(
    option.flag_in(TRAINING) for option in options(Sources, Reset, MaskControl, Prunable)
)
#: flags that rank weights; a command with a ticket requires them only if it prunes further
RANKING = tuple(option.flag_in(TRAINING) for option in options(Ranking, Seed))
#: stored flags of older commands -> today's flags
_RENAMED = {
    f"--{option.stored}": option.flag_in(TRAINING)
    for option in options(*GROUPS, place=TRAINING)
    if option.stored
}
#: flag of every option -> its axis
_OPTIONS = {o.flag_in(TRAINING): o.axis for o in options(*GROUPS, place=TRAINING)}
#: flag that may name code of the user -> title of its axis
_CODE = {flag: axis.title for flag, axis in _OPTIONS.items() if axis and axis.takes_code}
_LOGS = ("--tensorboard-logdir", "--log-file", "--wandb-project")
#: flags that the packed command sets itself
_PLACED = ("--task", "--user-dir", "--save-dir", "--ticket")
#: flags whose value is a file of one machine
_FILES = (
    *("--restore-file", "--finetune-from-model", "--continue-once"),
    *("--encoder-embed-path", "--decoder-embed-path"),
)
_SHORT = {"-s": "--source-lang", "-t": "--target-lang", "-a": "--arch", **_RENAMED}

#: value of a flag about the data, such as a language, as part of file names
DATA_VALUE = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}"
_FLAG = re.compile(r"--?[A-Za-z]")
_FLAG_NAME = re.compile(r"--?[A-Za-z][A-Za-z0-9_-]*")
#: maximum length of a command in characters, which shlex splits in a second
_LONGEST = 100_000
#: line break before an indented line or a flag, as in a shell variable of several lines
_CONTINUED = re.compile(r"\n(?=[ \t]|-)")
_SHELL = re.compile(r"[$`|&;<>#\\]")

Flags = list[tuple[str, list[str]]]


@dataclass(frozen=True)
class TrainingCommand:
    """The training command of a ticket, for a folder that contains it.

    Attributes:
        task: adapter of the trained task.
        data: name of a data flag of the task -> its value, such as ``source`` -> ``en``.
        flags: all other flags with their values, in order, without those that have paths.
    """

    task: TaskAdapter
    data: Mapping[str, str]
    flags: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def data_flags(self) -> list[tuple[str, str]]:
        """Return flags about the data with their values; ``fairseq-preprocess`` has them too."""
        return [(self.task.data_flags[name], value) for name, value in self.data.items()]

    def folder(self, path: Path) -> DataFolder:
        """Return the data folder at ``path``, with the dictionaries that this command reads."""
        settings = {flag[2:].replace("-", "_"): value for flag, value in self.data_flags}
        return self.task.folder(path, settings)

    def text(self) -> str:
        """Return the command for a shell, one flag per line; ``parse`` is the inverse."""
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
        """Parse the only ``fairseq-train`` line of ``text``.

        Args:
            text: lines for a shell (``#`` starts a comment line; an indented line or one that
                starts with a flag continues the previous one), or the JSON record of a stage,
                whose ``command`` is a list of words.
            task: adapter of the ticket's task.
            inferred: values of the task's data flags that the line does not have.

        Raises:
            LotteryError: there is not exactly one such line, it does not train a ticket of this
                task, or a flag is not valid on another machine.
        """
        words = _words(text)
        if not all(map(str.isprintable, words)):  # untrusted, and shown on a terminal
            raise LotteryError("the command has characters that cannot be printed; remove them")
        flags = _flags(words)
        _refuse_abbreviated(flags, task)
        last = {flag: values for flag, values in flags}
        if not {"--ticket", "--mask-from"} & set(last):
            raise LotteryError(
                "the command has neither --ticket nor --mask-from; give the command that trains"
                " this ticket"
            )
        if last.get("--task") != [task.lottery_task]:
            raise LotteryError(
                f"the command requires --task {task.lottery_task} to load this ticket; add it"
            )
        plugin = last.get("--user-dir", [USER_DIR])
        if plugin != [USER_DIR] and [Path(name).name for name in plugin] != ["fairseq_lottery"]:
            raise LotteryError(
                f"the command's --user-dir {' '.join(plugin)} is not fairseq_lottery, and an"
                f' archive cannot contain code; train with --user-dir "{USER_DIR}"'
            )
        data = {
            name: (last.get(flag) or [default])[0]
            for (name, flag), default in zip(task.data_flags.items(), inferred or repeat(""))
        }
        if not all(re.fullmatch(DATA_VALUE, value) for value in data.values()):
            raise LotteryError(
                f"the command requires {' and '.join(task.data_flags.values())} with plain names;"
                " add them, or give the folder of the binary data with --data"
            )
        dropped = {*DRAWING, *_LOGS, *_PLACED, *task.data_flags.values()}
        dropped.update(RANKING if "--prune-to" not in last else ())
        kept = tuple((flag, tuple(values)) for flag, values in flags if flag not in dropped)
        for flag, values in kept:
            _refuse_bound(flag, values)
        return cls(task, data, kept)


def _words(text: str) -> list[str]:
    """Return the arguments of ``fairseq-train``."""
    if text.lstrip().startswith("{"):
        try:
            record = read_json(text, allow_nan=True)
            entries({"command": list_of(one_of(str))}, needed=("command",))(record, "record", 0)
        except ValueError as error:
            raise LotteryError(f"the command file is not a record of a stage ({error})") from None
        lines = [record["command"]]
    else:
        if len(text) > _LONGEST:
            raise LotteryError(f"the command has {len(text)} characters, which exceeds {_LONGEST}")
        expanded = re.sub(r'"?\$\(fairseq-lottery user-dir\)"?', f"'{USER_DIR}'", text)
        rows = expanded.replace("\\\n", " ").splitlines()
        joined = "\n".join(row for row in rows if not row.lstrip().startswith("#"))
        try:
            lines = [shlex.split(row) for row in _CONTINUED.sub(" ", joined).splitlines()]
        except ValueError as error:
            raise LotteryError(f"the command is not valid in a shell ({error})") from None
    lines = [line for line in lines if line]
    if len(lines) != 1:
        raise LotteryError(
            f"expected one command, the file has {len(lines)}; keep only the fairseq-train line"
        )
    line = lines[0]
    if Path(line[0]).name == "fairseq-train":
        return line[1:]
    if line[1:3] in (["-m", "fairseq_cli.train"], ["-m", "fairseq_lottery.launch"]):
        return line[3:]
    raise LotteryError(
        f"the command starts with {line[0]!r}, expected fairseq-train; remove launchers before it"
    )


def _flags(words: list[str]) -> Flags:
    """Return flags with their values; the first word is the data folder."""
    if not words or _FLAG.match(words[0]):
        raise LotteryError("expected a data folder directly after fairseq-train")
    flags: Flags = []
    for word in words[1:]:
        if _FLAG.match(word):
            flag, equals, value = word.partition("=")
            flags.append((_SHORT.get(flag, flag), [value] if equals else []))
        elif flags:
            flags[-1][1].append(word)
        else:
            raise LotteryError(f"expected a flag after the data folder, found {word!r}")
    return flags


def _refuse_abbreviated(flags: Flags, task: TaskAdapter) -> None:
    """Refuse abbreviated flags: argparse would complete them, but the checks would miss them."""
    special = (*_OPTIONS, *_LOGS, *_PLACED, *_FILES, *task.data_flags.values())
    for flag, _ in flags:
        completions = [name for name in special if name.startswith(flag)]
        # --score is a flag and the start of --score-file
        if completions and flag not in completions:
            raise LotteryError(f"{flag} is abbreviated; write it in full, such as {completions[0]}")


def _refuse_bound(flag: str, values: Sequence[str]) -> None:
    """Refuse a flag whose values depend on a file, a shell or code of the user."""
    argument = f"the command's {flag} {' '.join(values)}".rstrip()
    if _SHELL.search(flag) or any(map(_SHELL.search, values)):
        raise LotteryError(
            f"{argument} has characters that a shell interprets; write values instead of variables"
        )
    if flag in _FILES or any("/" in value for value in values):
        raise LotteryError(
            f"{argument} is a file, which the archive does not contain; omit the flag"
        )
    if not _FLAG_NAME.fullmatch(flag) or not all(map(is_plain_value, values)):
        raise LotteryError(
            f"{argument} is not a plain value, and fairseq may evaluate it as Python; write words,"
            " numbers, or a literal such as '(0.9, 0.98)'"
        )
    if flag in _CODE and any(":" in value for value in values):
        raise LotteryError(
            f"{argument} is your own code, which an archive cannot contain; train with a"
            f" {_CODE[flag]} of fairseq_lottery"
        )
