"""Arguments of the steps, and where their results go."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.languages.metadata import LANGUAGE
from fairseq_lottery.languages.result_folder import Tables, as_json, save_tables

#: arguments that do not change the rows
_NOT_INPUTS = ("run", "command", "debug", "action", "out", "overwrite", "json")


def named(texts: Sequence[str], form: str) -> dict[str, str]:
    """Return name -> value of texts such as ``aa=aa.safetensors``.

    Args:
        form: their form, for messages.

    Raises:
        LotteryError: a text has another form, or a name is given twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not (mark and value and LANGUAGE.fullmatch(name)):
            raise LotteryError(f"{text[:100]!r} is malformed; give {form}")
        if name in values:
            raise LotteryError(f"{name} is given twice; give each name once")
        values[name] = value
    return values


def deliver(
    args: argparse.Namespace, tables: Tables, lines: Iterable[str], **more: Mapping[str, Any]
) -> None:
    """Save tables to ``--out``, and print them as ``--json`` or as lines of text."""
    command = f"languages {args.action}"
    given = {n: v for n, v in vars(args).items() if n not in _NOT_INPUTS and v is not None}
    plain = {n: [*map(_plain, v)] if isinstance(v, list) else _plain(v) for n, v in given.items()}
    inputs = {**plain, **more}
    try:
        if args.out is not None:
            save_tables(args.out, command, tables, inputs, args.overwrite)
    finally:
        print(as_json(command, tables, inputs) if args.json else "\n".join(lines))


def _plain(value: object) -> Union[int, str]:
    return value if isinstance(value, (int, str)) else str(value)
