"""Reading a workflow folder: ``records.jsonl`` line by line, and ``plan.json``."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text
from fairseq_lottery.strict import read_json

DENSE = "dense"


@dataclass(frozen=True)
class Score:
    """One metric of one evaluated cell; ``sparsity`` is asked for, ``pruned`` was counted."""

    technique: str
    sparsity: float
    seed: int
    training: str
    checkpoint: str
    evaluation: str
    subset: str
    metric: str
    score: float
    update: Optional[int] = None
    beam: Optional[int] = None
    lenpen: Optional[float] = None
    signature: Optional[str] = None
    run: Optional[str] = None
    pruned: Optional[int] = None
    prunable: Optional[int] = None
    denominator: Optional[str] = None
    hypotheses: Optional[str] = None
    references: Optional[str] = None
    sentences: Optional[int] = None


@dataclass(frozen=True)
class Curve:
    """One point of a training's curve."""

    technique: str
    sparsity: float
    seed: int
    training: str
    update: int
    split: str
    metric: str
    value: float


@dataclass(frozen=True)
class Model:
    """A checkpoint of a cell; ``matrices`` is the share that each matrix keeps, where recorded."""

    technique: str
    sparsity: float
    seed: int
    training: str
    file: str
    checkpoint: str
    matrices: Optional[dict] = None


@dataclass(frozen=True)
class Plan:
    """What a run set out to do.

    ``techniques`` maps name to title, in their order; ``cells`` (technique, sparsity, seed) is
    None where the plan does not list them, and any technique may have any sparsity then.
    """

    title: str
    techniques: Mapping[str, str]
    sparsities: tuple[float, ...]
    seeds: tuple[int, ...]
    published: Optional[str]
    recipe: Mapping[str, Any]
    cells: Optional[frozenset[tuple[str, float, int]]] = None


@dataclass(frozen=True)
class Run:
    """A workflow folder as read; the paths in its records are relative to ``folder``."""

    folder: Path
    plan: Plan
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...]
    models: tuple[Model, ...]


KINDS: dict[str, Any] = {"score": Score, "curve": Curve, "model": Model}
_TYPES: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "dict": dict}
#: of records and plans in bytes: a thousand long trainings have a hundredth of it
_LARGEST = 1 << 30
#: characters of a name, a signature or a path
_LONGEST = 4096
#: no training, however long, counts to more
_MOST = 10**15


def read_run(folder: Union[str, Path]) -> Run:
    """Read a workflow folder; its files' contents are read when they are needed.

    Raises:
        LotteryError: no such folder, no ``records.jsonl`` or ``plan.json``, or a line or an
            entry that is not what it should be (the sentence says which).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LotteryError(f"there is no folder {folder}; name an --out of fairseq-lottery run")
    plan = _read_plan(folder / "plan.json")
    found: dict[type, list[Any]] = {kind: [] for kind in KINDS.values()}
    path = folder / "records.jsonl"
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            record = _read_line(line, f"{path}, line {number}")
            found[type(record)].append(record)
    return Run(folder, plan, *(tuple(found[kind]) for kind in (Score, Curve, Model)))


def _text(path: Path) -> str:
    try:
        return read_text(path, _LARGEST)
    except FileNotFoundError as error:
        raise LotteryError(
            f"{path.parent} has no {path.name}; name a folder that fairseq-lottery run has scored"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LotteryError(f"{path} cannot be read: {reason}") from error


def _read_line(line: str, where: str) -> Any:
    try:
        entries = read_json(line, allow_nan=True)
    except ValueError as error:
        raise LotteryError(
            f"{where} is not JSON ({error}); let fairseq-lottery run write it anew"
        ) from error
    if not isinstance(entries, dict) or not isinstance(entries.get("kind"), str):
        raise LotteryError(f"{where} is no record: it has no kind")
    kind = KINDS.get(entries["kind"])
    if kind is None:
        raise LotteryError(
            f"{where} is of kind {_short(entries['kind'])}; this version knows {', '.join(KINDS)}"
        )
    values: dict[str, Any] = {}
    for field in fields(kind):
        declared = str(field.type)  # its text: annotations are postponed here
        value = entries.get(field.name)
        if value is not None:
            expected = declared.replace("Optional[", "").rstrip("]")
            value = _checked(field.name, value, expected, where)
        elif "Optional" not in declared:
            raise LotteryError(f"{where} has no {field.name}")
        values[field.name] = value
    if not 0 <= values["sparsity"] <= 1:
        raise LotteryError(f"{where}: sparsity {values['sparsity']} is not between 0 and 1")
    return kind(**values)


def _checked(name: str, value: Any, expected: str, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, _TYPES[expected]):
        raise LotteryError(f"{where}: {name} is {_short(value)}, which is no {expected}")
    if expected == "str" and not is_text(value):
        raise LotteryError(f"{where}: {name} is {_short(value)}, which is no line of text")
    if expected == "int" and not 0 <= value <= _MOST:
        raise LotteryError(f"{where}: {name} is {value}, which nothing counts to")
    if expected == "float":
        # a training that diverged has a curve of NaN; a score has to be a number
        if name != "value" and not math.isfinite(value):
            raise LotteryError(f"{where}: {name} is {value!r}; score the cell again")
        return round(float(value), 6) if name == "sparsity" else float(value)
    if expected == "dict":
        for matrix, density in value.items():
            number = isinstance(density, (int, float)) and not isinstance(density, bool)
            if not is_text(matrix) or not number or not 0 <= density <= 1:
                raise LotteryError(f"{where}: {_short(density)} is no density of {matrix}")
    return value


def is_text(value: Any) -> bool:
    """Whether a value is text that can stand in a table: no control characters, not endless."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return False
    return all(unicodedata.category(c) not in ("Cc", "Cs") for c in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _read_plan(path: Path) -> Plan:
    try:
        plan = read_json(_text(path))
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
        raise ValueError(f"{_short(value)} is no line of text")
    return str(text)


def _share(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1:
        raise ValueError(f"{_short(value)} is no sparsity")
    return round(float(value), 6)


def _seed(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"{_short(value)} is no seed")
    return value


def _entry(value: Any) -> Any:
    """An entry of a recipe: a text, a number, or a list of them."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str):
            _line(one)
        elif not (one is None or isinstance(one, (bool, int, float))):
            raise ValueError(f"the recipe holds {_short(one)}")
    return value
