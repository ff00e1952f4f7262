"""The end of a stage: what it left is checked and measured, and what nobody needs is deleted."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import TRAINED, Stage, read_stage_plan
from fairseq_lottery.workflow.planning.folder_state import read_record, still_needed
from fairseq_lottery.workflow.planning.logs import tail
from fairseq_lottery.workflow.stages.learning_curves import read_curves
from fairseq_lottery.workflow.trainings.training import model_file


def finish(stage: Stage, code: int, ended: bool) -> dict[str, Any]:
    """Check what a stage left, and say what its record keeps.

    torch now and then aborts while the interpreter leaves, after all work is done: what a
    stage leaves counts, and its exit code only where it is another.
    """
    if code not in (0, -signal.SIGABRT, 128 + signal.SIGABRT):
        raise LotteryError(f"exit code {code}")
    found: dict[str, Any] = {}
    if stage.kind in TRAINED:
        found = _models_of(stage)
    # of a training that had ended before, snapshots may have been cleaned up since
    left = [file for file in stage.leaves if not ended or file.endswith(".pt")]
    missing = [file for file in left if not Path(file).is_file()]
    if missing:
        raise LotteryError(f"it left no {missing[0]}")
    if stage.kind == "generate" and "Generate " not in tail(Path(stage.leaves[0])):
        raise LotteryError(f"{stage.leaves[0]} is not complete")
    return found


def _models_of(stage: Stage) -> dict[str, Any]:
    """Make the chosen models and count what is pruned in them."""
    from fairseq_lottery.workflow.stages.selected_model import choose, leave_mask, measure

    folder, facts = Path(stage.folder), stage.facts
    if stage.kind == "train":
        done = update_of(folder / "checkpoint_last.pt")
        if done != facts["updates"]:
            raise LotteryError(f"it ended at update {done} of {facts['updates']}")
    measured = {}
    for checkpoint in facts["models"]:
        model = folder / model_file(checkpoint)
        if stage.kind == "train":
            choose(folder, checkpoint)
        choice = facts.get("parts") or {}
        found = measure(
            model, facts["sparsity"], choice.get("file"), choice.get("kind"), choice.get("share")
        )
        measured[checkpoint] = found.record
        leave_mask(model, found.mask)
    return {"measured": measured, "curves": read_curves(Path(stage.log))}


def update_of(checkpoint: Path) -> int:
    """Updates behind a checkpoint; -1 for one that is corrupted, which the training mends."""
    from fairseq_lottery.formats.checkpoints.checkpoint import read_checkpoint, stored_update

    try:
        return int(stored_update(read_checkpoint(checkpoint)) or 0)
    except LotteryError:
        return -1


def clean(out: Path, stage: Stage) -> None:
    """Delete what nobody needs after ``stage``, which is finished.

    The plan is read anew: it may have grown since the stage was started.
    """
    plan = read_stage_plan(out)
    if read_record(out, stage) is None:
        return
    for path in (out / stage.folder).glob(".*.tmp"):  # of attempts that were killed as they wrote
        path.unlink(missing_ok=True)
    if stage.kind == "train" and "checkpoints" not in plan.keep:
        for path in (out / stage.folder).glob("checkpoint*.pt*"):
            path.unlink(missing_ok=True)
    needed = still_needed(out, plan.stages)
    kinds = {"snapshots": "snapshot_*.safetensors", "tickets": "ticket.safetensors"}
    for folder in {Path(file).parent for file in (*stage.needs, *stage.leaves)}:
        for kind, pattern in kinds.items():
            for path in (out / folder).glob(pattern) if kind not in plan.keep else ():
                if path.relative_to(out).as_posix() not in needed:
                    path.unlink(missing_ok=True)
