"""What a plan costs before it runs: GPU-hours, wall time, disk."""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from fairseq_lottery.records.json_files import write_file
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.records.stage_records import read_calibration
from fairseq_lottery.workflow.planning.folder_state import Work, read_record, updates_of
from fairseq_lottery.workflow.planning.graph import updates_ahead, waits
from fairseq_lottery.workflow.planning.model_size import count_parameters
from fairseq_lottery.workflow.planning.retention import numbered_checkpoints
from fairseq_lottery.workflow.reading.configuration import Configuration

#: bytes of a parameter: its fp32 value, and with Adam's two moments beside it
VALUE, TRAINED = 4, 12
#: updates of a calibration; the first half warms up and does not count
CALIBRATED = 200


@dataclass(frozen=True)
class Rates:
    """What one update and one parameter cost; None where nothing says so.

    Attributes:
        seconds: of one update of one training, known from ``basis``.
        others: kind of stage -> median seconds; those not measured yet count nothing.
    """

    seconds: Optional[float]
    others: dict[str, float]
    parameters: Optional[float]
    basis: Optional[str]


@dataclass(frozen=True)
class Cost:
    """What pending work costs.

    Attributes:
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

    Parameters are those of the model that was built, else what the configuration says, what its
    flags come to, or at least the prunable weights of a finished model.

    Args:
        counted: parameters of the model, where it has just been built.
    """
    measured: dict[str, list[float]] = {}
    prunable = 0
    for stage in stages:
        record = read_record(configuration.out, stage)
        if record is not None:
            updates = updates_of(stage) if stage.kind == "train" else 1
            measured.setdefault(stage.kind, []).append(record.seconds / updates)
            prunable = max([prunable, *(model.prunable for model in record.measured.values())])
    others = {kind: statistics.median(seconds) for kind, seconds in measured.items()}
    calibrated, hints = read_calibration(configuration.out), configuration.cost
    finished = len(measured.get("train", ()))
    known = [
        (others.pop("train", None), f"{finished} finished trainings"),
        (calibrated.seconds_per_update, "a calibration in this folder"),
        (hints.get("seconds_per_update"), "the configuration's own figures"),
    ]
    seconds, basis = next((one for one in known if one[0] is not None), (None, None))
    parameters = counted or calibrated.parameters or hints.get("parameters")
    parameters = parameters or count_parameters(configuration) or prunable or None
    return Rates(seconds, others, parameters, basis)


def note_parameters(out: Path, parameters: int) -> None:
    """Keep how many parameters the model has, for every later estimate of the disk."""
    found = {**asdict(read_calibration(out)), "parameters": parameters}
    write_file(out / "calibration.json", {n: v for n, v in found.items() if v is not None})


def estimate(
    configuration: Configuration,
    stages: tuple[Stage, ...],
    work: Work,
    jobs: int,
    counted: Optional[int] = None,
) -> Cost:
    """Simulate the pending stages, those with the longest way ahead first; see ``find_rates``."""
    rates = find_rates(configuration, stages, counted)
    trainings = [stage for stage in work.pending if stage.kind == "train"]
    resources = configuration.resources
    devices = (resources.gpus or resources.processes) * resources.nodes
    seconds = {
        stage.name: work.left[stage.name] * (rates.seconds or 0.0)
        if stage.kind == "train"
        else rates.others.get(stage.kind, 0.0)
        for stage in work.pending
    }
    trained = sum(seconds[stage.name] for stage in trainings)
    is_known = rates.seconds is not None
    critical, _ = _simulate(work, seconds, len(work.pending) or 1)
    wall, events = _simulate(work, seconds, jobs)
    disk = _Disk(configuration, stages, rates.parameters).sizes(events) if rates.parameters else []
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
    """Return the wall time, and the starts (True) and ends of stages in their order."""
    ahead = updates_ahead(work.pending)
    before = {name: set(names) for name, names in waits(work.pending).items()}
    by_name = {stage.name: stage for stage in work.pending}
    ready = [(-ahead[name], name) for name, needs in before.items() if not needs]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now, events = 0.0, []
    while ready or running:
        while ready and len(running) < jobs:
            name = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + seconds[name], name))
            events.append((by_name[name], True))
        now, ended = heapq.heappop(running)
        events.append((by_name[ended], False))
        for name, needs in before.items():
            if ended in needs:
                needs.remove(ended)
                if not needs:
                    heapq.heappush(ready, (-ahead[name], name))
    return now, events


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

    def sizes(self, events: list[tuple[Stage, bool]]) -> list[float]:
        found = [0.0]
        for stage, starts in events:
            (self.start if starts else self.end)(stage)
            found.append(sum(self.size.values()))
        return found

    def start(self, stage: Stage) -> None:
        if stage.kind == "train":
            self.size[stage.folder] = self.checkpoints * TRAINED * self.parameters

    def end(self, stage: Stage) -> None:
        if stage.kind == "train" and "checkpoints" not in self.keep:
            self.size.pop(stage.folder, None)
        for file in stage.leaves:
            if file.endswith((".pt", ".safetensors")):
                is_ticket = file.endswith("ticket.safetensors")
                share = 1 - stage.facts.get("sparsity", 0.0) if is_ticket else 1
                self.size[file] = share * VALUE * self.parameters
        self.waiting.pop(stage.name, None)
        needed = {file for other in self.waiting.values() for file in other.needs}
        for file in list(self.size):
            kind = "tickets" if file.endswith("ticket.safetensors") else "snapshots"
            if file.endswith(".safetensors") and file not in needed and kind not in self.keep:
                del self.size[file]
