"""What a plan costs before it runs: GPU-hours, wall time, disk."""

from __future__ import annotations

import heapq
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.workflow.planning.folder_files import read_object
from fairseq_lottery.workflow.planning.folder_state import Work, read_record
from fairseq_lottery.workflow.planning.graph import updates_ahead, waits
from fairseq_lottery.workflow.planning.retention import numbered_checkpoints
from fairseq_lottery.workflow.planning.stage import Stage
from fairseq_lottery.workflow.reading.configuration import Configuration

#: bytes of a parameter: its fp32 value, and with Adam's two moments beside it
VALUE, TRAINED = 4, 12
#: updates of a calibration; the first half warms up and does not count
CALIBRATED = 200


@dataclass(frozen=True)
class Rates:
    """What one update and one parameter cost, and where that is known from.

    Attributes:
        seconds: of one update of one training, None where nothing says so.
        others: kind of stage -> median seconds; those not measured yet count nothing.
        parameters: of the model, None where nothing says so.
        basis: where the seconds are from, for the reader; None where nothing says so.
    """

    seconds: Optional[float]
    others: dict[str, float]
    parameters: Optional[float]
    basis: Optional[str]


@dataclass(frozen=True)
class Cost:
    """What pending work costs.

    Attributes:
        trainings, updates: to be done.
        hours: of GPUs, or of CPU processes where no GPU is used.
        critical: seconds of the longest chain of stages, however many run at a time.
        wall: seconds with the given number of stages at a time.
        peak, final: bytes on disk, at most and at the end, besides what is there.
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
    configuration: Configuration, stages: Sequence[Stage], counted: Optional[int] = None
) -> Rates:
    """Finished trainings know best, then a calibration, then the configuration's ``cost``.

    Args:
        counted: parameters of the model, where it has just been built.
    """
    out = configuration.out
    records = [(stage, read_record(out, stage)) for stage in stages]
    measured: dict[str, list[float]] = {}
    parameters = None
    for stage, record in records:
        if record is None:
            continue
        seconds = record.get("seconds") or 0.0
        if stage.kind == "train":
            seconds /= stage.facts["updates"] - stage.facts["first_update"]
            for model in (record.get("measured") or {}).values():
                parameters = max(parameters or 0, model.get("prunable", 0))
        measured.setdefault(stage.kind, []).append(seconds)
    medians = {kind: statistics.median(values) for kind, values in measured.items()}
    calibrated = read_calibration(out)
    hints = configuration.cost
    noted = calibrated.get("parameters") or hints.get("parameters")
    parameters = counted or noted or parameters
    for seconds, basis in (
        (medians.pop("train", None), f"{len(measured.get('train', ()))} finished trainings"),
        (calibrated.get("seconds_per_update"), "a calibration in this folder"),
        (hints.get("seconds_per_update"), "the configuration's own figures"),
    ):
        if seconds is not None:
            return Rates(seconds, medians, parameters, basis)
    return Rates(None, medians, parameters, None)


def read_calibration(out: Path) -> dict[str, float]:
    """What ``--calibrate`` measured, empty where it never ran."""
    path = out / "calibration.json"
    found = read_object(path) or {}
    for name in ("seconds_per_update", "parameters"):
        value = found.get(name, 1)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 < value < float("inf"):
            raise LotteryError(f"{path} is damaged (its {name} is {value!r}); delete it")
    return found


def note_parameters(out: Path, parameters: int) -> None:
    """Keep how many parameters the model has, for every later estimate of the disk."""
    found = {**read_calibration(out), "parameters": parameters}
    with replacing(out / "calibration.json") as path:
        path.write_text(json.dumps(found) + "\n", encoding="utf-8")


def estimate(
    configuration: Configuration,
    stages: tuple[Stage, ...],
    work: Work,
    jobs: int,
    counted: Optional[int] = None,
) -> Cost:
    """Simulate the pending stages, those with the longest way ahead first.

    Args:
        counted: parameters of the model, where it has just been built.
    """
    rates = find_rates(configuration, stages, counted)
    trainings = [stage for stage in work.pending if stage.kind == "train"]
    resources = configuration.resources
    units = (resources.gpus or resources.processes) * resources.nodes
    seconds = {stage.name: _seconds(stage, rates, work) for stage in work.pending}
    trained = sum(seconds[stage.name] for stage in trainings)
    known = rates.seconds is not None
    endless = len(work.pending) or 1
    critical, _ = _simulate(configuration, stages, work, seconds, endless, None)
    wall, disk = _simulate(configuration, stages, work, seconds, jobs, rates.parameters)
    return Cost(
        trainings=len(trainings),
        updates=work.updates,
        hours=trained * units / 3600 if known else None,
        critical=critical if known else None,
        wall=wall if known else None,
        peak=max(disk) if disk else None,
        final=disk[-1] if disk else None,
        rates=rates,
    )


def _seconds(stage: Stage, rates: Rates, work: Work) -> float:
    if stage.kind != "train":
        return rates.others.get(stage.kind, 0.0)
    return work.left[stage.name] * (rates.seconds or 0.0)


def _simulate(
    configuration: Configuration,
    stages: tuple[Stage, ...],
    work: Work,
    seconds: dict[str, float],
    jobs: int,
    parameters: Optional[float],
) -> tuple[float, list[float]]:
    """Wall time, and the bytes on disk after every start and end of a stage."""
    ahead = updates_ahead(work.pending)
    before = {name: set(names) for name, names in waits(work.pending).items()}
    by_name = {stage.name: stage for stage in work.pending}
    ready = [(-ahead[name], name) for name, needs in before.items() if not needs]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    disk = _Disk(configuration, stages, parameters) if parameters else None
    now, trace = 0.0, [0.0] if parameters else []
    while ready or running:
        while ready and len(running) < jobs:
            name = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + seconds[name], name))
            if disk is not None:
                trace.append(disk.start(by_name[name]))
        now, ended = heapq.heappop(running)
        if disk is not None:
            trace.append(disk.end(by_name[ended]))
        for name, needs in before.items():
            if ended in needs:
                needs.remove(ended)
                if not needs:
                    heapq.heappush(ready, (-ahead[name], name))
    return now, trace


class _Disk:
    """Bytes that the workflow adds, as stages start and end."""

    def __init__(
        self, configuration: Configuration, stages: tuple[Stage, ...], parameters: float
    ) -> None:
        self.parameters = parameters
        # the last, the best, and the numbered ones that are kept
        self.checkpoints = 2 + numbered_checkpoints(configuration)
        self.keep = configuration.keep
        self.size: dict[str, float] = {}
        out = configuration.out
        self.waiting = {s.name: s for s in stages if read_record(out, s) is None}

    def start(self, stage: Stage) -> float:
        if stage.kind == "train":
            self.size[stage.folder] = self.checkpoints * TRAINED * self.parameters
        return sum(self.size.values())

    def end(self, stage: Stage) -> float:
        sparsity = stage.facts.get("sparsity", 0.0)
        if stage.kind == "train" and "checkpoints" not in self.keep:
            self.size.pop(stage.folder, None)
        for file in stage.leaves:
            if file.endswith((".pt", ".safetensors")):
                share = 1 - sparsity if file.endswith("ticket.safetensors") else 1
                self.size[file] = share * VALUE * self.parameters
        self.waiting.pop(stage.name, None)
        needed = {file for other in self.waiting.values() for file in other.needs}
        for file in list(self.size):
            kind = "tickets" if file.endswith("ticket.safetensors") else "snapshots"
            if file.endswith(".safetensors") and file not in needed and kind not in self.keep:
                del self.size[file]
        return sum(self.size.values())
