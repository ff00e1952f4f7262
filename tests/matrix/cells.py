"""The stated matrix of precision and parallelism: every row is tested, or refused with a sentence.

``python tests/matrix/table.py`` prints it as docs/reliability.md has it.
"""

from dataclasses import dataclass
from typing import Optional, Union

#: what is asserted after every update: exact counts, masks that only shrink, zeros everywhere
HELD = "holds"
#: the same, and a run that was interrupted ends with the bits of one that was not
BITS = "bit-equal"


@dataclass(frozen=True)
class Refused:
    """One sentence and exit code 2, before the first update."""

    sentence: str


@dataclass(frozen=True)
class By:
    """Another test runs this cell: ``file::function`` under tests/."""

    test: str
    outcome: Union[str, Refused] = BITS


Outcome = Union[str, Refused, By, None]


@dataclass(frozen=True)
class Row:
    """Two cells: one way to train, with a ticket and with a pruning schedule.

    Attributes:
        processes: 1, or two of gloo under a backend of ``--ddp-backend``.
        frequency: ``--update-freq``, batches an update.
        ema: ``no``, ``yes`` or ``fp32``.
        start: ``fresh``, ``resumed``, or the flag that says what is left out or gone on from.
        command: what reads the configuration.
        also: another flag, where the row is about one.
        ticket, pruning: what comes of it; None where it means nothing.
    """

    precision: str = "fp32"
    processes: str = "1"
    frequency: int = 1
    ema: str = "no"
    start: str = "fresh"
    command: str = "fairseq-train"
    also: str = ""
    ticket: Outcome = HELD
    pruning: Outcome = HELD

    @property
    def name(self) -> str:
        ema = {"no": "", "yes": "ema", "fp32": "ema-fp32"}[self.ema]
        parts = (
            self.precision, "" if self.processes == "1" else self.processes, ema,
            f"freq{self.frequency}", self.start.strip("-"), self.also.strip("-"),
            "hydra" if self.command == HYDRA else "",
        )  # fmt: skip
        return "_".join(part.replace(" ", "-") for part in parts if part)


HYDRA = "fairseq-hydra-train"
#: the same configuration in this process: hydra's name for what the legacy parser gives a TPU
COMMON = "hydra's `common`"

PRECISIONS = (
    "fp32", "fp16 flat", "fp16 not flat", "fp16 memory-efficient", "bf16",
    "bf16 memory-efficient", "amp",
)  # fmt: skip

KILLED = By("training/test_training.py::test_resumed_equals_uninterrupted")
STOPPED = By("training/test_stop_signals.py::test_stopped_and_resumed_equals_uninterrupted")
NO_FP32 = Refused("--ema-fp32 stores weights that pruning during training cannot prune")
HIDES = Refused("hides the updated weights, so masks cannot be enforced")
NO_SEED = Refused("--ema-seed-model starts the EMA from unpruned weights")
NO_EMA = Refused("has no EMA, and fairseq starts none in the middle of a run")
NO_SUM = Refused("sums gradients, which fairseq does not save in checkpoints under --amp")
NO_REWIND = Refused("a ticket whose update counter rewinds cannot start under --amp")


def _command(precision: str) -> str:
    return COMMON if precision.startswith("bf16") else "fairseq-train"


def _row(precision: str = "fp32", **values) -> Row:
    return Row(precision, **{"command": _command(precision), **values})


ROWS = (
    # resumed, as the command
    *(
        Row(p, start="resumed", ticket=ticket, pruning=pruning)
        for p, ticket, pruning in (
            ("fp32", KILLED, KILLED), ("fp16 flat", STOPPED, KILLED),
            ("fp16 not flat", KILLED, STOPPED), ("fp16 memory-efficient", KILLED, STOPPED),
            ("amp", STOPPED, KILLED),
        )
    ),
    Row(
        "bf16", start="resumed", command=HYDRA, ticket=BITS,
        pruning=By("training/test_processes.py::test_bf16_through_hydra_keeps_masters"),
    ),
    Row(ema="yes", frequency=2, command=HYDRA),
    Row("bf16", command="fairseq-train", ticket=HIDES, pruning=HIDES),
    # averaged weights in every precision
    *(_row(p, ema="yes", start="resumed", ticket=BITS, pruning=BITS) for p in PRECISIONS),
    *(
        _row(p, ema="fp32", frequency=2, start="resumed", ticket=BITS, pruning=NO_FP32)
        for p in PRECISIONS
    ),
    Row(ema="yes", also="--ema-seed-model", ticket=NO_SEED, pruning=NO_SEED),
    Row(ema="yes", start="resumed", also="--store-ema only now", ticket=NO_EMA, pruning=NO_EMA),
    # several batches an update
    *(_row(p, frequency=2) for p in PRECISIONS),
    # two processes
    Row(
        processes="legacy_ddp",
        ticket=By("training/test_processes.py::test_two_processes_start_from_one_ticket", HELD),
    ),
    Row(
        processes="legacy_ddp", start="resumed", ticket=BITS,
        pruning=By("training/test_processes.py::test_two_processes_keep_one_mask_and_resume"),
    ),
    Row(processes="no_c10d", frequency=2),
    Row(processes="c10d"),
    Row(processes="pytorch_ddp", frequency=2, start="resumed", ticket=BITS, pruning=BITS),
    *(
        _row(p, processes="legacy_ddp", frequency=2, ema="yes")
        for p in PRECISIONS
        if p != "fp32"
    ),
    *(_row(p, processes="pytorch_ddp", ema="yes") for p in ("fp16 flat", "bf16", "amp")),
    Row(processes="slowmo", ticket=HIDES, pruning=HIDES),
    Row(
        processes="fully_sharded",
        ticket=HIDES, pruning=By("training/test_refusals.py::test_refused", HIDES),
    ),
    # what is left out of a checkpoint, and what is gone on from
    *(
        _row(p, start=start, ema=ema)
        for start in ("--reset-optimizer", "--no-save-optimizer-state", "--finetune-from-model")
        for p, ema in (
            ("fp32", "no"), ("fp16 flat", "yes"), ("fp16 memory-efficient", "no"),
            ("bf16", "no"), ("amp", "yes"),
        )
    ),
    # an update counter that rewinds; gradients that are summed for a score
    *(
        _row(p, ema="yes", also="--update-counter rewind")
        for p in PRECISIONS
        if p != "amp"
    ),
    Row("amp", also="--update-counter rewind", ticket=NO_REWIND, pruning=NO_REWIND),
    *(
        _row(p, start="resumed", also="--score of gradients", ticket=None, pruning=BITS)
        for p in PRECISIONS
        if p != "amp"
    ),
    Row("amp", also="--score of gradients", ticket=None, pruning=NO_SUM),
    # weights that are regrown: at random, and where gradients of pruned weights are largest
    *(
        _row(
            p, ema="yes", frequency=2, start="resumed", also="--pruner set",
            ticket=None, pruning=BITS,
        )
        for p in PRECISIONS
    ),
    *(
        _row(p, start="resumed", also="--pruner of dense gradients", ticket=None, pruning=BITS)
        for p in PRECISIONS
        if p != "amp"
    ),
    Row("amp", also="--pruner of dense gradients", ticket=None, pruning=NO_SUM),
    # gradients of one update are never in a checkpoint, so amp resumes with them too
    *(
        _row(
            p, ema="yes", frequency=2, start="resumed", also="--pruner rigl",
            ticket=None, pruning=BITS,
        )
        for p in PRECISIONS
    ),
    *(
        _row(
            p, processes="legacy_ddp", ema="yes", start="resumed", also="--pruner set",
            ticket=None, pruning=BITS,
        )
        for p in ("fp32", "fp16 flat", "bf16", "amp")
    ),
    *(
        _row(
            p, processes="pytorch_ddp", start="resumed", also="--pruner of dense gradients",
            ticket=None, pruning=BITS,
        )
        for p in ("fp32", "fp16 flat", "fp16 memory-efficient", "bf16")
    ),
    # weights that are regrown with the values that they had
    *(
        _row(
            p, ema="yes", frequency=2, start="resumed", also=f"--pruner {pruner}",
            ticket=None, pruning=BITS,
        )
        for pruner in ("gradual-regrow", "movement")
        for p in PRECISIONS
    ),
    Row(
        "bf16", ema="yes", frequency=2, start="resumed", command=HYDRA, also="--pruner movement",
        ticket=None, pruning=BITS,
    ),
    *(
        _row(
            p, processes="legacy_ddp", frequency=2, ema="yes", start="resumed",
            also="--pruner movement", ticket=None, pruning=BITS,
        )
        for p in ("fp32", "fp16 flat", "fp16 memory-efficient", "bf16", "amp")
    ),
)  # fmt: skip

KINDS = ("ticket", "pruning")


def cells(where=lambda row: True):
    """(row, kind, outcome) of every cell that is run here, not by another test."""
    for row in filter(where, ROWS):
        for kind in KINDS:
            outcome = getattr(row, kind)
            if outcome is not None and not isinstance(outcome, By):
                yield row, kind, outcome


def outcome_of(cell: Outcome) -> Optional[Union[str, Refused]]:
    """What comes of a cell, whichever test runs it."""
    return cell.outcome if isinstance(cell, By) else cell
