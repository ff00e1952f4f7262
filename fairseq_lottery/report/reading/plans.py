"""Reading ``plan.json``: what a run set out to do."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines, read_text
from fairseq_lottery.files.untrusted_json import read_json

#: what the sparsities of a technique can be a share of, in the order in which reports have them
WEIGHTS, METRIC = "weights", "metric"
ROWS = (WEIGHTS, "heads", "units", "blocks", METRIC)
#: bytes of a plan, and of records: 1,400 trainings with 50 validations each have as many
_LARGEST, _LARGEST_RECORDS = 1 << 25, 1 << 26
#: characters of a name, a signature or a path
_LONGEST = 4096
#: no training, however long, counts to more
MOST = 10**15


@dataclass(frozen=True)
class Plan:
    """What a run set out to do.

    ``techniques`` maps name to title, in their order, ``rows`` name to what its sparsities are
    a share of, one of ``ROWS``; ``cells`` (technique, sparsity, seed) is None where the plan does
    not list them, and any technique may have any sparsity then.
    """

    title: str
    techniques: Mapping[str, str]
    sparsities: tuple[float, ...]
    seeds: tuple[int, ...]
    published: Optional[str]
    recipe: Mapping[str, Any]
    rows: Mapping[str, str]
    cells: Optional[frozenset[tuple[str, float, int]]] = None


def text_of(path: Path) -> str:
    """The text of a run's file; refuses one that is missing or is no text."""
    with _readable(path):
        return read_text(path, _LARGEST)


def lines_of(path: Path) -> Iterator[str]:
    """As ``text_of``, line by line, so that few are held at a time."""
    with _readable(path):
        yield from read_lines(path, _LARGEST_RECORDS)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise LotteryError(
            f"{path.parent} has no {path.name}; name a folder that fairseq-lottery run has scored"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LotteryError(f"{path} cannot be read: {reason}") from error


def is_text(value: Any) -> bool:
    """Whether a value is text that can stand in a table: no control characters, not endless."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return False
    return all(unicodedata.category(c) not in ("Cc", "Cs") for c in value)


def short(value: Any) -> str:
    """A value as text of less than 80 characters."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def read_plan(path: Path) -> Plan:
    """Read ``plan.json``.

    Raises:
        LotteryError: it is missing, or an entry is not what it should be.
    """
    try:
        plan = read_json(text_of(path))
        published = plan.get("published")
        if published is not None and not is_text(published):
            raise ValueError("published is no name")
        if not isinstance(plan["recipe"], dict):
            raise ValueError("recipe is no mapping")
        return Plan(
            title=_line(plan["title"]),
            techniques={_line(t["name"]): _line(t["title"]) for t in plan["techniques"]},
            sparsities=tuple(map(_share, plan["sparsities"])),
            seeds=tuple(map(_seed, plan["seeds"])),
            published=published,
            recipe={_line(k): _entry(v) for k, v in plan["recipe"].items()},
            rows={_line(t["name"]): _rows(t["rows"]) for t in plan["techniques"] if "rows" in t},
            cells=frozenset(map(_cell, plan["cells"])) if "cells" in plan else None,
        )
    except LotteryError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LotteryError(
            f"{path} is no plan of fairseq-lottery run ({type(error).__name__}: {error})"
        ) from error


def _cell(entry: Mapping[str, Any]) -> tuple[str, float, int]:
    return _line(entry["technique"]), _share(entry["sparsity"]), _seed(entry["seed"])


def _line(value: Any) -> str:
    text = " ".join(value.split()) if isinstance(value, str) else value  # a folded YAML text
    if not is_text(text):
        raise ValueError(f"{short(value)} is no line of text")
    return str(text)


def _rows(value: Any) -> str:
    if value not in ROWS:
        raise ValueError(f"{short(value)} is nothing that sparsities are a share of")
    return str(value)


def _share(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise ValueError(f"{short(value)} is no sparsity")
    return round(float(value), 6)


def _seed(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(f"{short(value)} is no seed")
    return value


def _entry(value: Any) -> Any:
    """An entry of a recipe: a text, a number, or a list of them."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            _line(one)
        elif not (one is None or isinstance(one, (bool, int, float))):
            raise ValueError(f"the recipe holds {short(one)}")
    return value
