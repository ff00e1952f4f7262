"""``records.jsonl``: what the runs of a workflow say, one line per cell and number."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fairseq_lottery.files import locked, replacing
from fairseq_lottery.workflow.planning.folder_files import read_plan, read_scores
from fairseq_lottery.workflow.planning.folder_state import read_record
from fairseq_lottery.workflow.planning.stage import TRAINED, Stage
from fairseq_lottery.workflow.trainings.training import model_file

FILE = "records.jsonl"
LOCK = ".records.lock"


def refresh(out: Path) -> None:
    """Write the records of every cell that is scored by now.

    One process collects and writes at a time: a slower one would put back what it read before
    another stage had ended.
    """
    with locked(out / LOCK):
        plan = read_plan(out)
        rows = collect(out, plan)
        with replacing(out / FILE) as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def collect(out: Path, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of scores, curves, models, closed parts and their ranks, in the order of the cells."""
    stages = [Stage.from_json(stage) for stage in plan["stages"]]
    trained = {s.folder: read_record(out, s) for s in stages if s.kind in TRAINED}
    scores = [stage for stage in stages if stage.kind == "score"]
    rows: list[dict[str, Any]] = []
    for cell in plan["cells"]:
        who = {name: cell[name] for name in ("technique", "sparsity", "seed", "training")}
        training = trained.get(cell["training"])
        mine = [s for s in scores if Path(s.folder).parent.as_posix() == cell["training"]]
        for stage in mine:
            if training is not None and read_record(out, stage) is not None:
                version = str(training.get("versions", {}).get("fairseq_lottery"))
                rows += _scores(out, who, stage, version)
        found = (training or {}).get("parts")
        if training is not None and found and found["kind"] != "weights":
            rows.append({"kind": "parts", **who, "file": training["parts"]["file"]})
        if training is not None:
            rows += [{"kind": "curve", **who, **row} for row in training.get("curves", [])]
            for checkpoint, measured in training.get("measured", {}).items():
                file = f"{cell['training']}/{model_file(checkpoint)}"
                rows.append({"kind": "model", **who, "file": file, "checkpoint": checkpoint,
                             "matrices": measured.get("matrices")})  # fmt: skip
        ranked = [s for s in stages if s.kind == "rank" and s.facts["of"] == cell["training"]]
        rows += [
            {"kind": "importance", **who, "measure": s.facts["measure"], "file": s.leaves[0]}
            for s in ranked
            if read_record(out, s) is not None
        ]
    return rows


def _scores(out: Path, who: dict[str, Any], stage: Stage, version: str) -> list[dict[str, Any]]:
    evaluation = dict(stage.facts["evaluation"])
    name = evaluation.pop("name")
    rows = []
    for row in read_scores(out / stage.folder / "scores.jsonl"):
        drawn = row.pop("signature_of_ticket", None)
        made = {"run": run_signature(who, row, drawn, version)}
        if "references" in stage.facts:
            made["hypotheses"] = f"{stage.folder}/hypotheses.txt"
            made["references"] = os.path.relpath(stage.facts["references"], out)
        rows.append({"kind": "score", **who, "evaluation": name, **evaluation, **row, **made})
    return rows


def run_signature(who: dict[str, Any], row: dict[str, Any], drawn: str | None, version: str) -> str:
    """The short string that says how the model behind a number was made."""
    measured = row["pruned"] / row["prunable"]
    parts = [
        f"technique:{who['technique']}",
        f"sparsity:{measured:.4f}",
        f"of:{row['denominator']}:{row['prunable']}",
        f"update:{row['update']}",
        f"seed:{who['seed']}",
        f"training:{who['training']}",
        f"version:{version}",
    ]
    return "|".join(parts) + (f" from {drawn}" if drawn else "")
