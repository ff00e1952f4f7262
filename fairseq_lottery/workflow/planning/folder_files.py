"""Reading what a workflow keeps in its folder: ``plan.json``, records of stages, measurements.

Stages write into the folders that a plan names, and delete there: what leads out is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.workflow.planning.stage import KINDS

#: bytes of one file, of which the plan of a hundred trainings has 0.8 million; and of one stage's
#: scores, a line each
_LARGEST, _LARGEST_SCORES = 1 << 24, 1 << 22
#: of a path, in characters
_LONGEST = 1000
_NUMBER = (int, float)
#: what the record of a stage says, where it says it
_RECORD: dict[str, Any] = {
    "stage": str,
    "seconds": _NUMBER,
    "versions": dict,
    "content": dict,
    "selection": dict,
    "measured": dict,
    "curves": list,
    "parts": dict,
}
_PLAN: dict[str, Any] = {
    "title": str,
    "configuration": str,
    "stages": list,
    "cells": list,
    "keep": list,
    "gpus": int,
    "threads": int,
    "executor": str,
}
_STAGE: dict[str, Any] = {
    **dict.fromkeys(("name", "kind", "folder", "title"), str),
    **dict.fromkeys(("command", "needs", "leaves"), list),
    "facts": dict,
}
_CELL: dict[str, Any] = {"technique": str, "sparsity": _NUMBER, "seed": int, "training": str}
_MODEL: dict[str, Any] = {"prunable": int, "matrices": dict}


def read_object(path: Path) -> Optional[dict[str, Any]]:
    """A JSON object; None where there is no such file.

    Raises:
        LotteryError: it cannot be read, or is something else.
    """
    try:
        found = read_json(read_text(path, _LARGEST), allow_nan=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LotteryError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise LotteryError(f"{path} is damaged ({error}); delete it") from error
    if not isinstance(found, dict):
        raise LotteryError(f"{path} is damaged (it is a {type(found).__name__}); delete it")
    return found


def read_stage_record(path: Path) -> Optional[dict[str, Any]]:
    """The record of a finished stage; None where there is none, or one that was cut off.

    Raises:
        LotteryError: a whole one that says something else than records do.
    """
    try:
        record = read_object(path)
    except LotteryError as error:
        if isinstance(error.__cause__, ValueError):
            return None
        raise
    if record is None:
        return None
    where = f"{path} is damaged"
    _refuse_other(record, _RECORD, where, needed=False)
    if not math.isfinite(record.get("seconds") or 0) or (record.get("seconds") or 0) < 0:
        raise LotteryError(f"{where} (its seconds are {record['seconds']}); delete it")
    for model in (record.get("measured") or {}).values():
        _refuse_other(model, _MODEL, where, needed=False)
    for point in record.get("curves") or ():
        _refuse_other(point, {}, where)
    content = record.get("content") or {}
    for name in ("flags", "ticket"):
        if not isinstance(content.get(name), (dict, type(None))):
            raise LotteryError(f"{where} (its {name} are no mapping); delete it")
    return record


def read_plan(out: Path) -> dict[str, Any]:
    """``plan.json`` of a workflow's folder.

    Raises:
        LotteryError: there is none, or it is no plan of ours.
    """
    path = out / "plan.json"
    plan = read_object(path)
    if plan is None:
        raise LotteryError(f"{out.absolute()} is no folder of a workflow; cd into one")
    where = f"{path} is damaged"
    _refuse_other(plan, _PLAN, where)
    for stage in plan["stages"]:
        _refuse_other(stage, _STAGE, where)
        if set(stage) != set(_STAGE):
            raise LotteryError(f"{where} (a stage of it says more than stages do); delete it")
        if stage["kind"] not in KINDS:
            raise LotteryError(f"{where} (a stage of it is of no kind); delete it")
        if stage["kind"] == "score":
            _refuse_other(stage["facts"], {"evaluation": dict}, where)
            _refuse_other(stage["facts"], {"references": str}, where, needed=False)
            _refuse_other(stage["facts"]["evaluation"], {"name": str}, where)
        if "parts" in stage["facts"]:
            _refuse_other(stage["facts"]["parts"], {"file": str, "kind": str}, where)
            if stage["facts"]["parts"]["file"] not in stage["needs"]:
                raise LotteryError(f"{where} ({stage['name']} needs no file of parts); delete it")
        words = [*stage["command"], *stage["needs"], *stage["leaves"]]
        if not all(isinstance(word, str) for word in words):
            raise LotteryError(f"{where} (a command of {stage['name']} is none); delete it")
        for file in (stage["folder"], *stage["needs"], *stage["leaves"]):
            _refuse_way_out(file, where)
    for cell in plan["cells"]:
        _refuse_other(cell, _CELL, where)
        _refuse_way_out(cell["training"], where)
        if not 0 <= cell["sparsity"] <= 1 or cell["seed"] < 0:
            raise LotteryError(f"{where} (a cell of it has no sparsity or no seed); delete it")
    return plan


def read_scores(path: Path) -> list[dict[str, Any]]:
    """The rows that a finished ``score`` stage left.

    Raises:
        LotteryError: they are not there, or are none.
    """
    rows = []
    try:
        lines = read_text(path, _LARGEST_SCORES).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LotteryError(f"{path} cannot be read ({reason})") from error
    for line in filter(str.strip, lines):
        try:
            row = read_json(line, allow_nan=True)
        except ValueError as error:
            raise LotteryError(f"{path} is damaged ({error}); delete it") from error
        where = f"{path} is damaged"
        _refuse_other(row, {"metric": str, "score": _NUMBER, "pruned": int}, where)
        _refuse_other(row, {"prunable": int, "denominator": str, "update": int}, where)
        if row["prunable"] < 1:
            raise LotteryError(f"{where} (its prunable is {row['prunable']}); delete it")
        rows.append(row)
    return rows


def _refuse_other(found: Any, kinds: Mapping[str, Any], where: str, needed: bool = True) -> None:
    if not isinstance(found, dict):
        raise LotteryError(f"{where} (it has a {type(found).__name__} for an entry); delete it")
    for name, kind in kinds.items():
        if name not in found:
            if needed:
                raise LotteryError(f"{where} (it has no {name}); delete it")
        elif not isinstance(found[name], kind) or isinstance(found[name], bool):
            kind_found = type(found[name]).__name__
            raise LotteryError(f"{where} (its {name} is a {kind_found}); delete it")


def _refuse_way_out(file: str, where: str) -> None:
    path = PurePosixPath(file)
    bad = path.is_absolute() or ".." in path.parts or not path.parts or not file.isprintable()
    if bad or len(file) > _LONGEST:
        raise LotteryError(f"{where} ({file[:80]!r} leads out of its folder); delete it")
