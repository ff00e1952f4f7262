"""The papers' techniques: each is a function that yields the trainings of its table rows.

A technique yields pairs ``(sparsity, training)``, parents first. The workflow adds the trainings
that their tickets are drawn from, and runs equal trainings of several techniques once. Users
define techniques of their own in a file that the configuration names.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.options import Reset
from fairseq_lottery.options.axes import MOMENTS
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.workflow.trainings.training import Training
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary

Cells = Iterator[tuple[float, Training]]


@dataclass(frozen=True)
class Technique:
    """A technique: its name, its title in tables, and the function that plans its trainings.

    Attributes:
        rows: the quantity whose share a row gives: pruned ``weights``, ``heads``, ``units`` or
            ``blocks``; or the ``metric`` at which a search stops.
        options: settings of this technique only, with their defaults.
        has_dense_row: whether it may have a row of sparsity 0.
        takes_others: whether it takes masks of other techniques.
        option_of_data_sets: setting with the data set whose masks it takes; None for its own.
    """

    name: str
    title: str
    plan: Callable[..., Cells]
    rows: str
    options: Mapping[str, Any]
    has_dense_row: bool = False
    takes_others: bool = False
    option_of_data_sets: Optional[str] = None


TECHNIQUES: dict[str, Technique] = {}


def technique(
    name: str,
    title: str,
    rows: str = "weights",
    options: Optional[Mapping[str, Any]] = None,
    has_dense_row: bool = False,
    takes_others: bool = False,
    option_of_data_sets: Optional[str] = None,
) -> Callable[[Callable[..., Cells]], Callable[..., Cells]]:
    """Register the decorated function as a technique.

    Args:
        title: its name in tables.
        options: its settings with their defaults; by default the function's parameters.
        has_dense_row: whether it may have a row of sparsity 0.
        takes_others: whether it takes masks of other techniques.
        option_of_data_sets: parameter with the data set whose masks it takes.
    """

    def register(plan: Callable[..., Cells]) -> Callable[..., Cells]:
        parameters = list(inspect.signature(plan).parameters.values())[1:]
        own = {parameter.name: parameter.default for parameter in parameters}
        settings = own if options is None else options
        TECHNIQUES[name] = Technique(
            name, title, plan, rows, settings, has_dense_row, takes_others, option_of_data_sets
        )
        return plan

    return register


@technique("mp", "MP")
def magnitude_pruning(v: Vocabulary) -> Cells:
    """Train while the sparsity increases; one training per sparsity (Zhu & Gupta 2017)."""
    for sparsity in v.sparsities:
        yield sparsity, v.prune(sparsity)


@technique("lt", "LT")
def lottery_ticket(v: Vocabulary) -> Cells:
    """Reset survivors to update 0 in every round (Frankle & Carbin 2019)."""
    return v.iterate(v.dense, v.rounds, back_to=0)


@technique("slt", "SLT")
def stabilized_lottery_ticket(v: Vocabulary) -> Cells:
    """Reset survivors to update t of the latest run (Brix et al. 2020, section 2.3)."""
    return v.iterate(v.dense, v.rounds)


@technique("clt", "CLT")
def constant_lottery_ticket(v: Vocabulary) -> Cells:
    """Reset as SLT, but keep only signs, with one magnitude per matrix (section 2.4)."""
    return v.iterate(v.dense, v.rounds, reset="sign")


@technique("slt-mp", "SLT-MP")
def stabilized_then_pruned(v: Vocabulary, switch: tuple[float, ...] = (0.5, 0.6)) -> Cells:
    """Iterate SLT in few rounds, then prune by magnitude from the last ticket (section 2.5).

    Every higher sparsity is one training under a pruning schedule. It starts from the weights at
    update t of the last SLT run, which is trained at ``switch[-1]``, under the mask of that run.
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
    """Start SLT from the mask of magnitude pruning (section 2.5).

    The first ticket has the weights at update t of the magnitude pruning run; with
    ``rewind_source: dense``, those of the dense run. Rows below ``switch`` are magnitude pruning,
    as in table 1.
    """
    for sparsity in v.sparsities:
        if sparsity < switch:
            yield sparsity, v.prune(sparsity)
    pruned = v.prune(switch)
    yield switch, pruned
    first = v.train(v.ticket(pruned, takes_mask=True))
    yield from v.iterate(first, [s for s in v.rounds if s > switch])


@technique("lr-rewind", "LR rewinding")
def learning_rate_rewinding(v: Vocabulary, moments: str = Reset.moments) -> Cells:
    """Keep trained values, and rewind only the learning rate to t (Renda et al. 2020).

    With ``moments="keep"`` the optimizer state is kept as well (Movva & Zhao 2020).
    """
    return _rewind_learning_rate(v, moments)


def _rewind_learning_rate(v: Vocabulary, moments: str, **axes: Any) -> Cells:
    MOMENTS.refuse_unknown(moments)
    axes = {**axes, "reset": "keep", "update_counter": "rewind", "moments": moments}
    return v.iterate(v.dense, v.rounds, **axes)


@technique("fine-tune", "fine-tuning")
def fine_tuning(v: Vocabulary, lr: Optional[float] = None) -> Cells:
    """Keep trained values, and continue at a small constant rate (Renda et al. 2020).

    The rate is ``lr``, by default the last rate of the dense run.
    """
    flags = v.at_constant_rate(lr)
    run = v.dense
    for sparsity in v.rounds:
        run = v.train(v.ticket(run, sparsity, reset="keep"), flags)
        yield sparsity, run


@technique("one-shot", "one-shot SLT")
def one_shot(v: Vocabulary) -> Cells:
    """Draw the ticket of every sparsity from the dense run, without rounds."""
    for sparsity in v.sparsities:
        yield sparsity, v.train(v.ticket(v.dense, sparsity))


@technique("imp", "global IMP")
def iterative_global(v: Vocabulary, fraction: float = 0.2, of: str = "remaining") -> Cells:
    """Prune at most ``fraction`` of the survivors per round by global magnitude.

    Survivors are reset to update t of the dense run (Yu et al. 2020, Chen et al. 2020). The
    rounds between two rows prune equal shares. With ``of="original"``, as in the code of Chen et
    al., ``fraction`` is a share of all prunable weights, and the rounds prune equal numbers.
    """
    if of not in ("remaining", "original"):
        raise LotteryError(f"of: {of!r} is unknown; choose remaining or original")
    if not isinstance(fraction, float) or not 0 < fraction < 1:
        raise LotteryError(f"fraction of imp is {fraction}, expected a share between 0 and 1")
    if Pattern.parse(v.pruning.scope):
        raise LotteryError(
            f"imp has a global scope, which excludes scope: {v.pruning.scope}; choose another"
            " technique, or omit scope"
        )
    run, done = v.dense, 0.0
    for row in v.sparsities:
        if of == "original":
            count = math.ceil((row - done) / fraction - 1e-9)
        else:
            count = math.ceil(math.log((1 - row) / (1 - done)) / math.log(1 - fraction) - 1e-9)
        share = ((1 - row) / (1 - done)) ** (1 / count)
        for step in range(1, count + 1):
            between = 1 - (1 - done) * share**step
            if of == "original":
                between = done + (row - done) * step / count
            sparsity = row if step == count else round(between, 6)
            back = v.dense.at(v.rewind_at(sparsity))
            ticket = v.ticket(run, sparsity, back=back, scope="global")
            run = v.train(ticket)
            yield sparsity, run
        done = row


@technique("random", "random mask")
def random_mask(v: Vocabulary) -> Cells:
    """Iterate as SLT under random masks, as a control of the mask."""
    return v.iterate(v.dense, v.rounds, score="random")


@technique("random-keep", "random mask, LR rewinding")
def random_mask_with_trained_values(v: Vocabulary, moments: str = Reset.moments) -> Cells:
    """Rewind the learning rate under random masks; survivors keep their trained values.

    A control of the mask of ``lr-rewind``. With ``rewind: 50%`` and ``moments: keep`` it is the
    control of Movva & Zhao 2020 (their ``train_lth_randomprune.py``).
    """
    return _rewind_learning_rate(v, moments, score="random")


@technique("zero-shot", "zero-shot")
def zero_shot(v: Vocabulary) -> Cells:
    """Prune the dense run's last weights at every sparsity, without any training."""
    for sparsity in v.sparsities:
        yield sparsity, v.prune_untrained(sparsity)


@technique("random-zero-shot", "random mask, zero-shot")
def random_zero_shot(v: Vocabulary) -> Cells:
    """Prune as ``zero-shot`` under random masks, as a control of its mask."""
    for sparsity in v.sparsities:
        yield sparsity, v.prune_untrained(sparsity, score="random")


@technique("random-reinit", "random reinit")
def random_reinitialisation(v: Vocabulary) -> Cells:
    """Train the masks of SLT from new weights, as a control of the start weights."""
    run = v.dense
    for sparsity in v.rounds:
        yield sparsity, v.train(v.ticket(run, sparsity, reset="random"))
        run = v.train(v.ticket(run, sparsity))


@technique("random-sign", "random signs")
def random_signs(v: Vocabulary) -> Cells:
    """Train the masks and magnitudes of CLT with random signs, as a control of the signs."""
    run = v.dense
    for sparsity in v.rounds:
        yield sparsity, v.train(v.ticket(run, sparsity, reset="random-sign"))
        run = v.train(v.ticket(run, sparsity, reset="sign"))


@technique("children", "children of update t", has_dense_row=True)
def children_of_update(v: Vocabulary, data_seed: int = 1) -> Cells:
    """Train the weights of update t again, in the order of the examples of ``data_seed``.

    Children with several seeds of the order show the instability at t (Frankle et al. 2020,
    section 2). Row 0 has dense children. Other rows have the tickets of SLT, whose own training is
    the parent of the next round.
    """
    flags = v.dense.flags.plus("--data-seed", data_seed)
    if 0 in v.sparsities:
        yield 0.0, v.train(v.ticket(v.dense, 0.0, v.dense.at(v.rewind)), flags)
    for sparsity, run in v.iterate(v.dense, [sparsity for sparsity in v.rounds if sparsity]):
        yield sparsity, replace(run, flags=flags)


def load_own(path: Path) -> None:
    """Run a user's Python file that registers techniques with ``@technique``.

    Raises:
        LotteryError: the file is missing, or fails.
    """
    if not is_plain(path):
        raise LotteryError(f"there is no file {path}; give a Python file with techniques")
    if path.suffix != ".py":
        raise LotteryError(f"{path} is not a Python file; rename it to end in .py")
    spec = importlib.util.spec_from_file_location(f"own_techniques_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        raise LotteryError(f"{path} fails with {type(error).__name__}: {error}") from error
