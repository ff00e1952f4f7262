"""Configuration of a task that fairseq defines by argparse flags instead of a dataclass."""

from __future__ import annotations

import ast
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.utils import FileContentsAction, csv_str_list
from omegaconf import OmegaConf

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text

#: maximum size in bytes of a file with the value of a flag
_LARGEST = 1 << 20


def flags_of(task: Any) -> list[Any]:
    """Return the flags that a task of fairseq adds to a parser."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    task.add_args(parser)
    return list(parser._actions)


def with_flags(task: Any) -> Callable[[type], type]:
    """Return a decorator that adds a task's flags to a dataclass as fields.

    Fields that the dataclass has already stay as they are. With the dataclass, the task has its
    flags in ``fairseq-train``, its settings in ``fairseq-hydra-train``, and a section of its own in
    the configuration. A flag that fairseq evaluates as Python has the type ``Any``.
    """

    def decorate(config: type) -> type:
        own = [flag for flag in flags_of(task) if flag.dest not in _fields(config)]
        kinds = {flag.dest: _kind(flag) for flag in own}
        body = {flag.dest: _field(flag) for flag in own}
        names = {"__module__": config.__module__, "__qualname__": config.__qualname__}
        documented = {**body, **names, "__doc__": config.__doc__, "__annotations__": kinds}
        return dataclass(type(config.__name__, (config,), documented))

    return decorate


def arguments_of(cfg: Any, task: Any, common: Mapping[str, Any]) -> Namespace:
    """Return the values of a configuration as the parser of fairseq's task returns them.

    The content of a file that a flag names replaces its name in ``cfg``, because checkpoints store
    ``cfg``.

    Args:
        cfg: section of the task, whose dataclass was made by ``with_flags``.
        common: further values that the task reads.

    Raises:
        LotteryError: a value is malformed.
    """
    values = dict(common)
    for flag in flags_of(task):
        value = cfg[flag.dest]
        if isinstance(flag, FileContentsAction) and isinstance(value, str):
            value = cfg[flag.dest] = _content(flag, value)
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=True)
        if isinstance(value, str) and flag.type is csv_str_list:
            value = csv_str_list(value)
        elif isinstance(value, str) and _is_evaluated(flag):
            value = _literal(flag, value)
        values[flag.dest] = str(value) if flag.choices and value is not None else value
    return Namespace(**values)


def _fields(config: type) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = config.__dataclass_fields__  # type: ignore[attr-defined]
    return fields


def _kind(flag: Any) -> Any:
    if flag.nargs == 0:
        return bool
    if _is_evaluated(flag):
        return Any
    kind: Any = flag.type if flag.type in (int, float) else str
    if flag.choices:
        kind = ChoiceEnum(list(flag.choices))
    return Optional[kind] if flag.default is None else kind


def _field(flag: Any) -> Any:
    metadata = {"help": flag.help}
    for name in flag.option_strings:
        if not name.startswith("--"):
            metadata["argparse_alias"] = name
    return field(default=flag.default, metadata=metadata)


def _is_evaluated(flag: Any) -> bool:
    """Return whether fairseq evaluates the value of a flag as Python."""
    return flag.type not in (None, str, int, float, csv_str_list)


def _literal(flag: Any, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        example = '{"main": ("src", "tgt")}'
        raise LotteryError(
            f"{flag.option_strings[-1]} {text[:50]} is not a literal of Python; give a dictionary"
            f" such as {example}"
        ) from None


def _content(flag: Any, value: str) -> str:
    """Return the content of the file that ``value`` names, or ``value`` if there is no file."""
    from fairseq.file_io import PathManager

    if not PathManager.isfile(value):
        return value
    try:
        return read_text(value, _LARGEST).strip()
    except (OSError, UnicodeDecodeError) as error:
        name = (flag.option_strings or [flag.dest])[-1]
        raise LotteryError(f"{name} {value} cannot be read: {error}") from error
