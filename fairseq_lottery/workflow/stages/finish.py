"""Finish a stage: check its files, measure its models, and delete files that nothing needs."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import TRAINED, Stage, read_stage_plan
from fairseq_lottery.workflow.planning.folder_state import needed_files, read_record
from fairseq_lottery.workflow.planning.logs import read_curves, tail
from fairseq_lottery.workflow.trainings.training import model_file


def finish(stage: Stage, code: int, had_ended: bool) -> dict[str, Any]:
    """Check the files of a stage, and return the results for its record.

    torch sometimes aborts at interpreter exit, after all work is done. SIGABRT is therefore
    accepted, and the files decide.

    Args:
        code: exit code of the command.
        had_ended: True for a training that had completed its updates before this start.

    Raises:
        LotteryError: the command failed, or a file is missing or incomplete.
    """
    if code not in (0, -signal.SIGABRT, 128 + signal.SIGABRT):
        raise LotteryError(f"exit code {code}")
    results: dict[str, Any] = {}
    if stage.kind in TRAINED:
        results = _select_models(stage)
    # snapshots of a training that had ended may have been deleted since
    required = [file for file in stage.leaves if not had_ended or file.endswith(".pt")]
    missing = [file for file in required if not Path(file).is_file()]
    if missing:
        raise LotteryError(f"{missing[0]} is missing")
    if stage.kind == "generate" and "Generate " not in tail(Path(stage.leaves[0])):
        raise LotteryError(f"{stage.leaves[0]} is truncated")
    return results


def _select_models(stage: Stage) -> dict[str, Any]:
    """Write the selected models, and count their pruned weights and components."""
    from fairseq_lottery.workflow.stages.selected_model import choose, measure, write_mask

    folder, facts = Path(stage.folder), stage.facts
    flops = None
    if stage.kind == "adopt":
        flops = flops_of(Path(facts["adopts"]["run"]) / "checkpoint_last.pt")
    if stage.kind == "train":
        last = folder / "checkpoint_last.pt"
        done = update_of(last)
        if done != facts["updates"]:
            raise LotteryError(f"training ended at update {done} of {facts['updates']}")
        flops = flops_of(last)
    measured = {}
    for checkpoint in facts["models"]:
        model = folder / model_file(checkpoint)
        if stage.kind == "train":
            choose(folder, checkpoint)
        choice = facts.get("parts") or {}
        counts = measure(
            model, facts["sparsity"], choice.get("file"), choice.get("kind"), choice.get("share")
        )
        measured[checkpoint] = counts.record
        write_mask(model, counts.mask)
    results = {"measured": measured, "curves": read_curves(Path(stage.log))}
    return {**results, **({"flops": flops} if flops is not None else {})}


def update_of(checkpoint: Path) -> int:
    """Return the update of a checkpoint; -1 if it is corrupted, which the training repairs."""
    from fairseq_lottery.formats.checkpoints.checkpoint import read_checkpoint
    from fairseq_lottery.formats.checkpoints.checkpoint_entries import stored_update

    try:
        return int(stored_update(read_checkpoint(checkpoint)) or 0)
    except LotteryError:
        return -1


def flops_of(checkpoint: Path) -> Optional[dict[str, float]]:
    """Return the operations of a training; None if it was not counted from the start."""
    from fairseq_lottery.formats.checkpoints.checkpoint import read_checkpoint
    from fairseq_lottery.formats.checkpoints.checkpoint_entries import stored_entries

    counted: Optional[dict[str, float]] = stored_entries(read_checkpoint(checkpoint)).get("flops")
    return counted


def clean(out: Path, stage: Stage) -> None:
    """Delete the files that no stage needs after ``stage`` has finished.

    The plan is read again, because a later start may have added stages to it.
    """
    plan = read_stage_plan(out)
    if read_record(out, stage) is None:
        return
    for path in (out / stage.folder).glob(".*.tmp"):  # left by killed processes
        path.unlink(missing_ok=True)
    needed = needed_files(out, plan.stages)
    if "checkpoints" not in plan.keep:
        checkpoints = [out / file for file in stage.needs if file.endswith("/checkpoint_last.pt")]
        if stage.kind == "train":
            checkpoints += (out / stage.folder).glob("checkpoint*.pt*")
        for path in checkpoints:
            if path.relative_to(out).as_posix() not in needed:
                path.unlink(missing_ok=True)
    kinds = {"snapshots": "snapshot_*.safetensors", "tickets": "ticket.safetensors"}
    for folder in {Path(file).parent for file in (*stage.needs, *stage.leaves)}:
        for kind, pattern in kinds.items():
            for path in (out / folder).glob(pattern) if kind not in plan.keep else ():
                if path.relative_to(out).as_posix() not in needed:
                    path.unlink(missing_ok=True)
