"""Estimates of a plan's cost before it runs: GPU-hours, wall time, disk."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Optional

from fairseq_lottery.records.json_files import write_file
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.records.stage_records import StageRecord, read_calibration
from fairseq_lottery.workflow.planning.folder_state import Work, updates_of
from fairseq_lottery.workflow.planning.graph import find_dependencies, updates_ahead
from fairseq_lottery.workflow.planning.model_size import count_parameters
from fairseq_lottery.workflow.planning.retention import numbered_checkpoints
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.trainings.pair_mask import PAIR_MASKS

#: bytes per parameter: fp32 value alone, and with the two moments of Adam
VALUE, TRAINED = 4, 12
#: updates of a calibration, whose first half warms up and is not timed
CALIBRATED = 200


@dataclass(frozen=True)
class Rates:
    """Measured or configured rates; None if unknown.

    Attributes:
        seconds: seconds per update of one training.
        others: kind of stage -> median seconds; kinds without a measurement are missing.
        parameters: number of parameters of the model.
        basis: source of ``seconds``.
    """

    seconds: Optional[float]
    others: dict[str, float]
    parameters: Optional[float]
    basis: Optional[str]


@dataclass(frozen=True)
class Cost:
    """The cost of pending stages; None if unknown.

    Attributes:
        hours: GPU-hours, or hours of CPU processes without GPUs.
        critical: seconds of the longest chain of stages.
        wall: seconds with the given number of parallel stages.
        peak, final: bytes added on disk, at most and at the end.
    """

    trainings: int
    updates: int
    hours: Optional[float]
    critical: Optional[float]
    wall: Optional[float]
    peak: Optional[float]
    final: Optional[float]
    rates: Rates


def find_rates(
    configuration: Configuration,
    stages: Sequence[Stage],
    records: Mapping[str, StageRecord],
    counted: Optional[int] = None,
) -> Rates:
    """Return rates of finished trainings, else of a calibration, else of the key ``cost``.

    The number of parameters is the first that is known of: ``counted``, that of the calibration or
    of ``cost``, an estimate from the flags, the number of prunable weights of a finished model.

    Args:
        records: those of ``Work``.
        counted: number of parameters, if the model has just been built.
    """
    measured: dict[str, list[float]] = {}
    prunable = 0
    for stage in stages:
        record = records.get(stage.name)
        if record is not None:
            updates = updates_of(stage) if stage.kind == "train" else 1
            measured.setdefault(stage.kind, []).append(record.seconds / updates)
            prunable = max([prunable, *(model.prunable for model in record.measured.values())])
    others = {kind: statistics.median(seconds) for kind, seconds in measured.items()}
    calibrated, hints = read_calibration(configuration.out), configuration.cost
    finished = len(measured.get("train", ()))
    sources = [
        (others.pop("train", None), f"{finished} finished trainings"),
        (calibrated.seconds_per_update, "a calibration in this folder"),
        (hints.get("seconds_per_update"), "cost: in the configuration"),
    ]
    seconds, basis = next((source for source in sources if source[0] is not None), (None, None))
    parameters = counted or calibrated.parameters or hints.get("parameters")
    parameters = parameters or count_parameters(configuration) or prunable or None
    return Rates(seconds, others, parameters, basis)


def note_parameters(out: Path, parameters: int) -> None:
    """Write the number of parameters to ``calibration.json``, for later estimates."""
    calibration = {**asdict(read_calibration(out)), "parameters": parameters}
    write_file(out / "calibration.json", {n: v for n, v in calibration.items() if v is not None})


def estimate(
    configuration: Configuration,
    stages: tuple[Stage, ...],
    work: Work,
    jobs: int,
    counted: Optional[int] = None,
) -> Cost:
    """Return the cost of a simulated run that starts stages of long chains first."""
    rates = find_rates(configuration, stages, work.records, counted)
    trainings = [stage for stage in work.pending if stage.kind == "train"]
    resources = configuration.resources
    devices = (resources.gpus or resources.processes) * resources.nodes
    seconds = {
        stage.name: work.remaining[stage.name] * (rates.seconds or 0.0)
        if stage.kind == "train"
        else rates.others.get(stage.kind, 0.0)
        for stage in work.pending
    }
    trained = sum(seconds[stage.name] for stage in trainings)
    is_known = rates.seconds is not None
    critical, _ = _simulate(work, seconds, len(work.pending) or 1)
    wall, events = _simulate(work, seconds, jobs)
    unfinished = [stage for stage in stages if stage.name not in work.records]
    disk: list[float] = []
    if rates.parameters:
        disk = _bytes_after(events, configuration, unfinished, rates.parameters)
    return Cost(
        trainings=len(trainings),
        updates=work.updates,
        hours=trained * devices / 3600 if is_known else None,
        critical=critical if is_known else None,
        wall=wall if is_known else None,
        peak=max(disk) if disk else None,
        final=disk[-1] if disk else None,
        rates=rates,
    )


def _simulate(
    work: Work, seconds: dict[str, float], jobs: int
) -> tuple[float, list[tuple[Stage, bool]]]:
    """Return the wall time, and all starts (True) and ends (False) of stages in order."""
    ahead = updates_ahead(work.pending)
    by_name = {stage.name: stage for stage in work.pending}
    order = TopologicalSorter(find_dependencies(work.pending))
    order.prepare()
    ready: list[tuple[int, str]] = []
    running: list[tuple[float, str]] = []
    now, events = 0.0, []
    while order.is_active():
        for name in order.get_ready():
            heapq.heappush(ready, (-ahead[name], name))
        while ready and len(running) < jobs:
            name = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + seconds[name], name))
            events.append((by_name[name], True))
        now, ended = heapq.heappop(running)
        events.append((by_name[ended], False))
        order.done(ended)
    return now, events


def _bytes_after(
    events: list[tuple[Stage, bool]],
    configuration: Configuration,
    unfinished: Sequence[Stage],
    parameters: float,
) -> list[float]:
    """Return the bytes on disk after each start (True) or end (False) of a stage."""
    checkpoints = 2 + numbered_checkpoints(configuration)  # last, best, and numbered ones
    keep = configuration.keep
    size: dict[str, float] = {}
    waiting = {stage.name: stage for stage in unfinished}
    sizes = [0.0]
    for stage, is_start in events:
        if stage.kind == "train":
            if is_start:
                size[stage.folder] = checkpoints * TRAINED * parameters
            elif "checkpoints" not in keep:
                size.pop(stage.folder, None)
        if not is_start:
            for file in stage.leaves:
                if _kind(file) == "checkpoints" and "checkpoints" in keep:
                    continue  # counted with the folder of its training
                if Path(file).name == PAIR_MASKS:
                    size[file] = stage.facts["masks"] * parameters / 8
                elif file.endswith((".pt", ".safetensors")):
                    is_ticket = file.endswith("ticket.safetensors")
                    share = 1 - stage.facts.get("sparsity", 0.0) if is_ticket else 1
                    each = TRAINED if _kind(file) == "checkpoints" else VALUE
                    size[file] = share * each * parameters
            waiting.pop(stage.name, None)
            needed = {file for other in waiting.values() for file in other.needs}
            for file in list(size):
                if _kind(file) is not None and file not in needed and _kind(file) not in keep:
                    del size[file]
        sizes.append(sum(size.values()))
    return sizes


def _kind(file: str) -> Optional[str]:
    """Return the kind of a file that is deleted after its last reader, as in ``keep``, or None."""
    name = Path(file).name
    if name == "checkpoint_last.pt":
        return "checkpoints"
    if name.endswith(".safetensors") and name != PAIR_MASKS:
        return "tickets" if name == "ticket.safetensors" else "snapshots"
    return None
