"""The data sets of a configuration: one, or a list of named ones with settings of their own."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.schema import Rule
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.train_flags import Flags

_Name = Annotated[
    str,
    Rule(
        "a name of lowercase letters, digits, dots and hyphens",
        lambda text: re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,40}", text) is not None,
    ),
]


@dataclass(frozen=True)
class DataKeys:
    """An entry of ``data``; all keys but ``name`` replace the file's key of the same name.

    ``train`` adds flags to those of the file, and replaces flags of the same names.
    """

    name: _Name
    data: str
    task: Optional[str] = None
    train: Optional[str] = None
    techniques: Optional[Any] = None
    evaluate: Optional[Any] = None
    metrics: Optional[Any] = None
    references: Optional[str] = None
    generate: Optional[str] = None
    score_command: Optional[Any] = None
    adopt: Optional[Any] = None
    pretrained: Optional[str] = None
    prepare: Optional[str] = None


def split_data_sets(lines: Lines) -> list[tuple[str, Lines]]:
    """Return the name of each data set, and the file with the settings of that data set only.

    Returns:
        One pair with an empty name if ``data`` is not a list.

    Raises:
        LotteryError: an entry is malformed, or two have the same name.
    """
    entries = lines.values.get("data")
    if not isinstance(entries, list):
        return [("", lines)]
    values = Values(lines)
    if not entries:
        raise values.error(("data",), "data is empty; give a folder, or a list of data sets")
    if "analyze" in lines.values:
        raise values.error(
            ("analyze",),
            "analyze requires one data set, and data is a list; write a configuration for each",
        )
    sets: list[tuple[str, Lines]] = []
    for number, entry in enumerate(entries):
        key: Key = ("data", number)
        keys = values.parse(key, entry, DataKeys)
        if keys.name in dict(sets):
            raise values.error((*key, "name"), f"two data sets are called {keys.name}; rename one")
        own = {name: value for name, value in entry.items() if name != "name"}
        if keys.train is not None:
            own["train"] = _merge(values, (*key, "train"), lines.values.get("train"), keys.train)
        merged = {**lines.values, **own}
        sets.append((keys.name, lines.with_values(merged, {name: (*key, name) for name in own})))
    return sets


def _merge(values: Values, key: Key, common: Any, own: str) -> str:
    """Return the flags of the file with those of a data set."""
    try:
        shared = Flags.parse(common if isinstance(common, str) else "")
        return shlex.join(shared.plus(*Flags.parse(own).words()).words())
    except LotteryError as error:
        raise values.error(key, f"train: {error}") from error
