"""What stays on disk: what a pending stage reads, the chosen weights, and what is asked for."""

from __future__ import annotations

from pathlib import Path

from fairseq_lottery.workflow.planning.folder_files import read_plan
from fairseq_lottery.workflow.planning.folder_state import read_record, still_needed
from fairseq_lottery.workflow.planning.stage import Stage


def clean(out: Path, stage: Stage) -> None:
    """Delete what nobody needs after ``stage``, which is finished.

    The plan is read anew: it may have grown since the stage was started.
    """
    plan = read_plan(out)
    keep = plan["keep"]
    if read_record(out, stage) is None:
        return
    for path in (out / stage.folder).glob(".*.tmp"):  # of attempts that were killed as they wrote
        path.unlink(missing_ok=True)
    if stage.kind == "train" and "checkpoints" not in keep:
        for path in (out / stage.folder).glob("checkpoint*.pt*"):
            path.unlink(missing_ok=True)
    needed = still_needed(out, tuple(Stage.from_json(one) for one in plan["stages"]))
    kinds = {"snapshots": "snapshot_*.safetensors", "tickets": "ticket.safetensors"}
    read_here = {Path(file).parent for file in (*stage.needs, *stage.leaves)}
    for folder in read_here:
        for kind, pattern in kinds.items():
            for path in (out / folder).glob(pattern) if kind not in keep else ():
                if path.relative_to(out).as_posix() not in needed:
                    path.unlink(missing_ok=True)
