"""Collect the records of all cells from the records of their stages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.files import locked
from fairseq_lottery.records import cells
from fairseq_lottery.records.plan import TRAINED, ScoreFacts, Stage, StagePlan, read_stage_plan
from fairseq_lottery.records.schema import parse
from fairseq_lottery.records.stage_records import SCORES, ScoreRow, StageRecord, read_scores
from fairseq_lottery.records.training_cost import updates_behind
from fairseq_lottery.workflow.planning.folder_state import read_record
from fairseq_lottery.workflow.trainings.training import model_file

LOCK = ".records.lock"


def refresh(out: Path) -> None:
    """Write the records of all scored cells.

    A lock serialises writers, because a slow one would overwrite newer records with older ones.
    """
    with locked(out / LOCK):
        cells.write_records(out, collect(out, read_stage_plan(out)))


def collect(out: Path, plan: StagePlan) -> list[cells.CellRecord]:
    """Return scores, choices, curves, models and importance, in the order of the cells."""
    recorded = {s.name: read_record(out, s) for s in plan.stages if s.kind in TRAINED}
    trained = {s.folder: recorded[s.name] for s in plan.stages if s.kind in TRAINED}
    finished = [
        stage
        for stage in plan.stages
        if stage.kind in ("score", "rank") and read_record(out, stage) is not None
    ]
    records: list[cells.CellRecord] = []
    for cell in plan.cells:
        fields = {name: value for name, value in asdict(cell).items() if name != "keeps_start"}
        training = trained.get(cell.training)
        if training is not None:
            for stage in finished:
                if stage.kind == "score" and Path(stage.folder).parent == Path(cell.training):
                    records += _scores(out, fields, stage, training)
            records += _of_training(fields, training)
            records += _costs(fields, plan, recorded)
        for stage in finished:
            if stage.kind == "rank" and stage.facts["of"] == cell.training:
                measure, file = stage.facts["measure"], stage.leaves[0]
                records.append(cells.Importance(**fields, measure=measure, file=file))
    return records


def _of_training(cell: dict[str, Any], training: StageRecord) -> Iterator[cells.CellRecord]:
    if training.parts is not None and training.parts.kind != "weights":
        yield cells.Choice(**cell, file=training.parts.file)
    for point in training.curves:
        yield cells.Curve(**cell, **asdict(point))
    for checkpoint, measured in training.measured.items():
        file = f"{cell['training']}/{model_file(checkpoint)}"
        yield cells.Model(
            **cell,
            file=file,
            checkpoint=checkpoint,
            matrices=measured.matrices,
            pairs=measured.pairs,
        )


def _costs(
    cell: dict[str, Any], plan: StagePlan, recorded: Mapping[str, Optional[StageRecord]]
) -> Iterator[cells.Cost]:
    """Yield the cost of a cell, unless a training behind it was not counted.

    Of a training that is used up to a snapshot, the same share of updates and operations counts.
    """
    stages = {stage.name: stage for stage in plan.stages}
    used = updates_behind(plan.stages, cell["training"])
    dense = sparse = 0.0
    for name, updates in used.items():
        if not updates:
            continue
        record = recorded.get(name)
        if record is None or record.flops is None:
            return
        facts = stages[name].facts
        share = updates / (facts["updates"] - facts.get("first_update", 0))
        dense += share * record.flops.dense
        sparse += share * record.flops.sparse
    yield cells.Cost(**cell, updates=sum(used.values()), flops=dense, sparse_flops=sparse)


def _scores(
    out: Path, cell: dict[str, Any], stage: Stage, training: StageRecord
) -> Iterator[cells.Score]:
    facts = parse(ScoreFacts, stage.facts)
    about: dict[str, Any] = {**cell, **asdict(facts.evaluation)}
    about["evaluation"] = about.pop("name")
    if facts.references is not None:
        about["hypotheses"] = f"{stage.folder}/hypotheses.txt"
        about["references"] = os.path.relpath(facts.references, out)
    version = str(training.versions.get("fairseq_lottery"))
    for row in read_scores(out / stage.folder / SCORES):
        counted = {name: value for name, value in asdict(row).items() if value is not None}
        counted.pop("signature_of_ticket", None)
        yield cells.Score(**{**about, **counted, "run": run_signature(cell, row, version)})


def run_signature(cell: dict[str, Any], row: ScoreRow, version: str) -> str:
    """Return the string that identifies the model behind a score."""
    parts = [
        f"technique:{cell['technique']}",
        f"sparsity:{row.pruned / row.prunable:.4f}",
        f"of:{row.denominator}:{row.prunable}",
        f"update:{row.update}",
        f"seed:{cell['seed']}",
        f"training:{cell['training']}",
        f"version:{version}",
    ]
    drawn = row.signature_of_ticket
    return "|".join(parts) + (f" from {drawn}" if drawn else "")
