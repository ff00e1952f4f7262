"""Reading a workflow folder: ``records.jsonl`` line by line, beside its plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.report.reading.plans import MOST, Plan, is_text, lines_of, read_plan, short

DENSE = "dense"


@dataclass(frozen=True)
class Score:
    """One metric of one evaluated cell.

    ``sparsity`` is asked for, ``pruned`` was counted; ``closed`` is the share that is closed of
    heads, units and blocks, where the technique closes any.
    """

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
    closed: Optional[dict] = None


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
class Choice:
    """Which heads and units a cell keeps: a file of ``fairseq_lottery.heads.save_parts``."""

    technique: str
    sparsity: float
    seed: int
    training: str
    file: str


@dataclass(frozen=True)
class Importance:
    """Scores of the dense model's parts by one measure: a file of ``structured.table``."""

    technique: str
    sparsity: float
    seed: int
    training: str
    measure: str
    file: str


@dataclass(frozen=True)
class Run:
    """A workflow folder as read; the paths in its records are relative to ``folder``."""

    folder: Path
    plan: Plan
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...]
    models: tuple[Model, ...]
    choices: tuple[Choice, ...]
    importance: tuple[Importance, ...]


KINDS: dict[str, Any] = {
    "score": Score,
    "curve": Curve,
    "model": Model,
    "parts": Choice,
    "importance": Importance,
}
_TYPES: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "dict": dict}


def read_run(folder: Union[str, Path]) -> Run:
    """Read a workflow folder; its files' contents are read when they are needed.

    Raises:
        LotteryError: no such folder, no ``records.jsonl`` or ``plan.json``, or a line or an
            entry that is not what it should be (the sentence says which).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LotteryError(f"there is no folder {folder}; name an --out of fairseq-lottery run")
    plan = read_plan(folder / "plan.json")
    found: dict[type, list[Any]] = {kind: [] for kind in KINDS.values()}
    path = folder / "records.jsonl"
    for number, line in enumerate(lines_of(path), 1):
        if line.strip():
            record = _read_line(line, f"{path}, line {number}")
            found[type(record)].append(record)
    return Run(folder, plan, *(tuple(found[kind]) for kind in KINDS.values()))


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
            f"{where} is of kind {short(entries['kind'])}; this version knows {', '.join(KINDS)}"
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
    if kind is Importance and (values["technique"], values["sparsity"]) != (DENSE, 0.0):
        raise LotteryError(f"{where}: importance is of the dense model, at sparsity 0, only")
    return kind(**values)


def _checked(name: str, value: Any, expected: str, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, _TYPES[expected]):
        raise LotteryError(f"{where}: {name} is {short(value)}, which is no {expected}")
    if expected == "str" and not is_text(value):
        raise LotteryError(f"{where}: {name} is {short(value)}, which is no line of text")
    if expected == "int" and not 0 <= value <= MOST:
        raise LotteryError(f"{where}: {name} is {value}, which nothing counts to")
    if expected == "float":
        # a training that diverged has a curve of NaN; a score has to be a number
        if name != "value" and not math.isfinite(value):
            raise LotteryError(f"{where}: {name} is {value!r}; score the cell again")
        return round(float(value), 6) if name == "sparsity" else float(value)
    if expected == "dict":
        what = "share" if name == "closed" else "density"
        for key, share in value.items():
            number = isinstance(share, (int, float)) and not isinstance(share, bool)
            if not is_text(key) or not number or not 0 <= share <= 1:
                raise LotteryError(f"{where}: {short(share)} is no {what} of {short(key)}")
    return value
