"""The papers' techniques: each a function from a vocabulary to the trainings of its row.

A technique yields ``(sparsity, training)``, parents first. What it needs on the way is found
by following the trainings' tickets, and equal trainings of several techniques run once. A
user's own technique is such a function, in a file that the configuration names.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.workflow.trainings.training import Training
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary

Cells = Iterator[tuple[float, Training]]


@dataclass(frozen=True)
class Technique:
    """A name, what a table calls it, and the function that plans it.

    Attributes:
        rows: what a row is a share of: ``weights``; ``heads``, ``units`` or ``blocks`` that are
            pruned; or ``metric``, where a search stops.
        options: settings of its own, besides the vocabulary's, with their defaults.
    """

    name: str
    title: str
    plan: Callable[..., Cells]
    rows: str
    options: Mapping[str, Any]


TECHNIQUES: dict[str, Technique] = {}


def technique(
    name: str, title: str, rows: str = "weights", options: Optional[Mapping[str, Any]] = None
) -> Callable[[Callable[..., Cells]], Callable[..., Cells]]:
    """Register the function below under a name, with the title that tables show.

    Args:
        options: its settings with their defaults; its further parameters unless given.
    """

    def register(plan: Callable[..., Cells]) -> Callable[..., Cells]:
        parameters = list(inspect.signature(plan).parameters.values())[1:]
        own = {parameter.name: parameter.default for parameter in parameters}
        TECHNIQUES[name] = Technique(name, title, plan, rows, own if options is None else options)
        return plan

    return register


@technique("mp", "MP")
def magnitude_pruning(v: Vocabulary) -> Cells:
    """Train while the sparsity increases; one training per sparsity (Zhu & Gupta 2017)."""
    for sparsity in v.sparsities:
        yield sparsity, v.prune(sparsity)


@technique("lt", "LT")
def lottery_ticket(v: Vocabulary) -> Cells:
    """Survivors go back to update 0 (Frankle & Carbin 2019)."""
    return v.iterate(v.dense, v.rounds, back_to=0)


@technique("slt", "SLT")
def stabilized(v: Vocabulary) -> Cells:
    """Survivors go back to update t of the latest run (Brix et al. 2020, section 2.3)."""
    return v.iterate(v.dense, v.rounds)


@technique("clt", "CLT")
def constant(v: Vocabulary) -> Cells:
    """As SLT, but only the signs go back, with one magnitude per matrix (section 2.4)."""
    return v.iterate(v.dense, v.rounds, reset="sign")


@technique("slt-mp", "SLT-MP")
def stabilized_then_pruned(v: Vocabulary, switch: tuple[float, ...] = (0.5, 0.6)) -> Cells:
    """SLT in few steps, then magnitude pruning from the last ticket (section 2.5).

    Every target is one training that starts from the ticket of ``switch[-1]`` on the update t
    of the last SLT run, the one trained at ``switch[-1]``, under that run's own mask.
    """
    run = v.dense
    for sparsity, run in v.iterate(v.dense, switch):
        yield sparsity, run
    ticket = v.ticket(run, takes_mask=True)
    for sparsity in v.sparsities:
        if sparsity > switch[-1]:
            yield sparsity, v.prune(sparsity, ticket)


@technique("mp-slt", "MP-SLT")
def pruned_then_stabilized(v: Vocabulary, switch: float = 0.6) -> Cells:
    """The mask of magnitude pruning on the weights of update t, then SLT (section 2.5).

    The first ticket's weights are those of update t of the magnitude pruning run itself, which
    is the latest run there is; with ``rewind_source: dense`` they are the dense run's. Below
    ``switch`` it is magnitude pruning, as in table 1.
    """
    for sparsity in v.sparsities:
        if sparsity < switch:
            yield sparsity, v.prune(sparsity)
    pruned = v.prune(switch)
    yield switch, pruned
    first = v.train(v.ticket(pruned, takes_mask=True))
    yield from v.iterate(first, [s for s in v.rounds if s > switch])


@technique("lr-rewind", "LR rewinding")
def learning_rate_rewinding(v: Vocabulary) -> Cells:
    """Survivors keep their trained values, only the schedule goes back to t (Renda 2020)."""
    return v.iterate(v.dense, v.rounds, reset="keep", update_counter="rewind")


@technique("fine-tune", "fine-tuning")
def fine_tuning(v: Vocabulary, lr: Optional[float] = None) -> Cells:
    """Survivors keep their trained values and train on at a small constant rate (Renda 2020).

    The rate is the last one of the dense run unless ``lr`` gives another.
    """
    flags = v.at_constant_rate(lr)
    run = v.dense
    for sparsity in v.rounds:
        run = v.train(v.ticket(run, sparsity, reset="keep"), flags)
        yield sparsity, run


@technique("one-shot", "one-shot SLT")
def one_shot(v: Vocabulary) -> Cells:
    """SLT without rounds: every sparsity is drawn from the dense run."""
    for sparsity in v.sparsities:
        yield sparsity, v.train(v.ticket(v.dense, sparsity))


@technique("imp", "global IMP")
def iterative_global(v: Vocabulary, fraction: float = 0.2) -> Cells:
    """Global magnitude, at most ``fraction`` of the rest per round, back to the dense run's t.

    Yu et al. 2020 and Chen et al. 2020. Between two rows the rounds remove equal shares.
    """
    if not isinstance(fraction, float) or not 0 < fraction < 1:
        raise LotteryError(f"imp removes a share between 0 and 1 per round, not {fraction}")
    if Pattern.parse(v.pruning.scope):
        raise LotteryError(
            f"imp ranks all matrices as one, which scope: {v.pruning.scope} does not; write another"
            " technique, or leave scope out"
        )
    run, done = v.dense, 0.0
    for row in v.sparsities:
        count = math.ceil(math.log((1 - row) / (1 - done)) / math.log(1 - fraction) - 1e-9)
        share = ((1 - row) / (1 - done)) ** (1 / count)
        for turn in range(1, count + 1):
            sparsity = row if turn == count else round(1 - (1 - done) * share**turn, 6)
            ticket = v.ticket(run, sparsity, back=v.dense.at(v.rewind), scope="global")
            run = v.train(ticket)
            yield sparsity, run
        done = row


@technique("random", "random mask")
def random_mask(v: Vocabulary) -> Cells:
    """As SLT in every step, but what is pruned is drawn at random: the control of the mask."""
    return v.iterate(v.dense, v.rounds, score="random")


@technique("random-reinit", "random reinit")
def random_reinitialisation(v: Vocabulary) -> Cells:
    """The masks of SLT on fresh weights: the control of the start values."""
    run = v.dense
    for sparsity in v.rounds:
        yield sparsity, v.train(v.ticket(run, sparsity, reset="random"))
        run = v.train(v.ticket(run, sparsity))


@technique("random-sign", "random signs")
def random_signs(v: Vocabulary) -> Cells:
    """The masks and magnitudes of CLT with random signs: the control of the signs."""
    run = v.dense
    for sparsity in v.rounds:
        yield sparsity, v.train(v.ticket(run, sparsity, reset="random-sign"))
        run = v.train(v.ticket(run, sparsity, reset="sign"))


def load_own(path: Path) -> None:
    """Run a user's file, in which ``@technique`` registers techniques of their own.

    Raises:
        LotteryError: no such file, or it fails.
    """
    if not is_plain(path):
        raise LotteryError(f"there is no file {path} with techniques")
    if path.suffix != ".py":
        raise LotteryError(f"{path} is no Python; the name of a file with techniques ends in .py")
    spec = importlib.util.spec_from_file_location(f"own_techniques_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:  # noqa: BLE001 - a user's file raises whatever it likes
        raise LotteryError(f"{path} fails with {type(error).__name__}: {error}") from error
