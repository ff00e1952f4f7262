"""Techniques of one training that is sparse from its start, or whose mask changes during it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import Schedule, Scope, Score
from fairseq_lottery.options.axes import SCOPE
from fairseq_lottery.workflow.trainings.techniques import Cells, technique
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary


def _prune(v: Vocabulary, scope: str, **settings: Any) -> Cells:
    """Yield one training from scratch for each row.

    Args:
        settings: fields of ``PruningSchedule``; None for those of the configuration.
    """
    SCOPE.refuse_unknown(scope)
    given = {name: value for name, value in settings.items() if value is not None}
    if scope != "global":
        given["min_density"] = Scope.min_density
    for sparsity in v.sparsities:
        yield sparsity, v.prune(sparsity, scope=scope, **given)


def _exchange(v: Vocabulary, pruner: str, scope: str, **settings: Any) -> Cells:
    """Yield trainings that exchange weights from the start, by magnitude."""
    settings["fraction"] = _fraction(settings["fraction"])
    every = settings.get("every") or v.pruning.every
    end = settings.get("end") or v.pruning.end
    if every >= end:
        raise LotteryError(
            f"weights are exchanged every {every} updates until {end}, which is never; set"
            " prune: every to less"
        )
    own = {"start": 0, "schedule": Schedule.schedule, "score": Score.score}
    return _prune(v, scope, pruner=pruner, **own, **settings)


def _fraction(value: Optional[float]) -> Optional[float]:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise LotteryError(f"fraction: {value!r} is not a share in (0, 1]; 0.3 exchanges 30 %")
    return float(value)


@technique("dense-longer", "dense, whole budget", has_dense_row=True)
def dense_longer(v: Vocabulary) -> Cells:
    """Train the dense model for the whole ``budget``, as a control of longer techniques."""
    yield 0.0, v.dense


@technique("static", "static random mask")
def static_random_mask(v: Vocabulary, scope: str = "erk") -> Cells:
    """Train from scratch under a random mask that never changes, as a control of regrowth."""
    return _prune(v, scope, score="random", schedule="one-shot", start=0, end=0)


@technique("set", "SET")
def sparse_evolutionary(
    v: Vocabulary, scope: str = "erk", fraction: Optional[float] = None
) -> Cells:
    """Exchange small weights for random ones at constant sparsity (Mocanu et al. 2018)."""
    return _exchange(v, "set", scope, fraction=fraction)


@technique("rigl", "RigL")
def rigged_lottery(
    v: Vocabulary,
    scope: str = "erk",
    fraction: Optional[float] = None,
    gradient_updates: Optional[int] = None,
) -> Cells:
    """Exchange small weights for those with large gradients (Evci et al. 2020)."""
    if gradient_updates is not None and (type(gradient_updates) is not int or gradient_updates < 0):
        raise LotteryError(
            f"gradient_updates: {gradient_updates!r} is not a number of updates; 1 reads the"
            " gradient of one update, 0 all since the last exchange"
        )
    return _exchange(v, "rigl", scope, fraction=fraction, gradient_updates=gradient_updates)


@technique("itop", "RigL-ITOP")
def in_time_rigged_lottery(
    v: Vocabulary,
    scope: str = "erk",
    fraction: Optional[float] = None,
    every: Optional[int] = None,
    end: Optional[int] = None,
) -> Cells:
    """Exchange weights as ``rigl``, but larger parts, more seldom or longer (Liu et al. 2021)."""
    return _exchange(v, "itop", scope, fraction=fraction, every=every, end=end)


@technique("granet", "GraNet")
def gradual_with_regeneration(
    v: Vocabulary, scope: str = "global", fraction: Optional[float] = None
) -> Cells:
    """Increase the sparsity, and exchange weights at each step (Liu et al. 2021)."""
    fraction = _fraction(fraction)
    own = {"start": max(1, v.pruning.start), "schedule": Schedule.schedule, "score": Score.score}
    return _prune(v, scope, pruner="granet", fraction=fraction, **own)


@technique("mp-regrow", "MP with regrowth")
def magnitude_pruning_with_regrowth(v: Vocabulary) -> Cells:
    """Prune as ``mp``, but pruned weights keep their values and may regrow (Zhu & Gupta 2017)."""
    return _prune(v, v.pruning.scope, pruner="gradual-regrow")


@technique("movement", "movement pruning")
def movement_pruning(v: Vocabulary, scope: str = "global") -> Cells:
    """Prune as ``mp`` by the movement of weights away from zero (Sanh et al. 2020)."""
    start = max(1, v.pruning.start)  # scores are learned from the first update on
    return _prune(v, scope, pruner="movement", start=start, score=Score.score)


def _prune_at_start(
    v: Vocabulary, score: str, scope: str, score_rounds: Optional[int], score_batches: Optional[int]
) -> Cells:
    for name, value in (("score_rounds", score_rounds), ("score_batches", score_batches)):
        if value is not None and not (type(value) is int and value > 0):
            raise LotteryError(f"{name}: {value!r} is not a positive integer")
    once = {"schedule": "one-shot", "start": 0, "end": 0}
    given = {"score_rounds": score_rounds, "score_batches": score_batches}
    return _prune(v, scope, score=score, **once, **given)


@technique("snip", "SNIP")
def connection_sensitivity(
    v: Vocabulary,
    scope: str = "global",
    score_rounds: Optional[int] = None,
    score_batches: Optional[int] = None,
) -> Cells:
    """Prune before the first update by the effect on the loss (Lee et al. 2019)."""
    return _prune_at_start(v, "snip", scope, score_rounds, score_batches)


@technique("force", "FORCE")
def foresight(
    v: Vocabulary,
    scope: str = "global",
    score_rounds: Optional[int] = None,
    score_batches: Optional[int] = None,
) -> Cells:
    """Prune before the first update in rounds, with regrowth (de Jorge et al. 2021)."""
    return _prune_at_start(v, "force", scope, score_rounds, score_batches)


@technique("grasp", "GraSP")
def gradient_signal(
    v: Vocabulary, scope: str = "global", score_batches: Optional[int] = None
) -> Cells:
    """Prune before the first update, and preserve the flow of gradients (Wang et al. 2020)."""
    return _prune_at_start(v, "grasp", scope, None, score_batches)


@technique("synflow", "SynFlow")
def synaptic_flow(
    v: Vocabulary, scope: str = "global", score_rounds: Optional[int] = None
) -> Cells:
    """Prune before the first update by the flow through weights (Tanaka et al. 2020)."""
    return _prune_at_start(v, "synflow", scope, score_rounds, None)


def _prune_dense(v: Vocabulary, score: str, scope: str, lr: Optional[float]) -> Cells:
    """Prune the dense run's last weights by their inputs, and continue at a constant rate."""
    SCOPE.refuse_unknown(scope)
    if v.pruning.prunable == "all-matrices":
        raise LotteryError(
            f"{score} ranks weights by the inputs of their layers, which embeddings do not have;"
            " write prunable: no-embeddings"
        )
    flags = v.at_constant_rate(lr)
    settings = {"score": score, "scope": scope, "schedule": "one-shot", "start": 0, "end": 0}
    settings |= {} if scope == "global" else {"min_density": Scope.min_density}
    for sparsity in v.sparsities:
        ticket = v.ticket(v.dense, 0.0, v.dense.at(v.dense.updates), reset="keep")
        ticket = replace(ticket, update_counter="restart")
        yield sparsity, replace(v.prune(sparsity, ticket, **settings), flags=flags)


@technique("wanda", "Wanda, fine-tuned")
def weights_and_activations(v: Vocabulary, scope: str = "row", lr: Optional[float] = None) -> Cells:
    """Prune by magnitude times norm of the input, then fine-tune (Sun et al. 2023)."""
    return _prune_dense(v, "wanda", scope, lr)


@technique("sparsegpt", "SparseGPT, fine-tuned")
def inverse_hessian(v: Vocabulary, scope: str = "layer", lr: Optional[float] = None) -> Cells:
    """Prune by the score of SparseGPT, then fine-tune (Frantar & Alistarh 2023)."""
    return _prune_dense(v, "sparsegpt", scope, lr)
