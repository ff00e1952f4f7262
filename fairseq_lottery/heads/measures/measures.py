"""The measures of importance of heads, FFN units and FFN blocks.

A measure is a function from ``MeasureInput`` to scores. A user names one of their own as
``package.module:function``, without a change here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.gates.hard_concrete import probabilities
from fairseq_lottery.heads.measures import weight_norms
from fairseq_lottery.heads.measures.head_attention import confidence as attention_confidence
from fairseq_lottery.heads.measures.importance import Loss, Scores, importance, refuse_unfit
from fairseq_lottery.options.axes import MEASURE
from fairseq_lottery.options.own_code import digest_source, load_own


@dataclass(frozen=True)
class MeasureInput:
    """What a measure reads and must not change: a trained model and examples for it.

    Attributes:
        model: fairseq model in evaluation mode.
        anatomy: its heads and FFN units.
        weights: name -> tensor on the CPU, a tied tensor once.
        gates: gates of the components; those of pruned components are closed. They act in
            ``gates.attached()``.
        batches: () -> fairseq's batches of all examples, on the model's device.
        loss: (model, batch) -> summed loss, its tokens, its sentences.
        ignored: tokens that ``confidence`` ignores: ``<s>``, ``</s>`` and padding.
        per: a name of ``PER``, for gradients.
        learned: () -> kind -> parameter of each learned gate, in the anatomy's order.
    """

    model: nn.Module
    anatomy: Anatomy
    weights: Mapping[str, Tensor]
    gates: Gates
    batches: Callable[[], Iterator[Any]]
    loss: Loss
    ignored: tuple[int, ...]
    per: str
    learned: Callable[[], Mapping[str, Tensor]]


Measure = Callable[[MeasureInput], Scores]


def gradient(inputs: MeasureInput) -> Scores:
    """Score by gradients, see ``importance``: Michel et al. 2019, Prasanna et al. 2020."""
    return importance(inputs.gates, inputs.batches(), inputs.loss, inputs.per)


def confidence(inputs: MeasureInput) -> Scores:
    """Score heads by confidence, see ``head_attention.confidence``: Voita et al. 2019."""
    with inputs.gates.attached():
        return attention_confidence(inputs.model, inputs.anatomy, inputs.batches(), inputs.ignored)


def gates(inputs: MeasureInput) -> Scores:
    """Score by the probability that a learned gate is open: Voita et al. 2019."""
    split = inputs.anatomy.split
    return {kind: split(kind, probabilities(theta)) for kind, theta in inputs.learned().items()}


MEASURES: dict[str, Measure] = MEASURE.registry(
    {
        "gradient": gradient,
        "confidence": confidence,
        "gates": gates,
        "l1": lambda inputs: weight_norms.l1(inputs.weights, inputs.anatomy),
        "l2": lambda inputs: weight_norms.l2(inputs.weights, inputs.anatomy),
        "adaprune": lambda inputs: weight_norms.adaprune(inputs.weights, inputs.anatomy),
    }
)


def find_measure(name: str) -> tuple[Measure, Optional[str]]:
    """Return the measure called ``name``, and the SHA-256 of its source if it is a user's own."""
    MEASURE.refuse_unknown(name)
    if name in MEASURES:
        return MEASURES[name], None
    function = load_own(MEASURE.title, name)
    if not callable(function):
        raise LotteryError(f"measure {name} is not a function")
    return function, digest_source(MEASURE.title, name, function)


def measure(name: str, inputs: MeasureInput) -> Scores:
    """Return the scores of a measure: kind -> module -> a number for each component.

    Raises:
        LotteryError: the measure is unknown, a user's measure fails, or its scores do not match
            the model.
    """
    function, source = find_measure(name)
    if source is None:
        return function(inputs)
    try:
        scores = function(inputs)
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's measure may raise any error
        raise LotteryError(f"measure {name} failed with {type(error).__name__}: {error}") from error
    return _fitting(name, scores, inputs.anatomy)


def _fitting(name: str, scores: Any, anatomy: Anatomy) -> Scores:
    """Return a user's scores as fp64 tensors on the CPU, of all modules of a kind in order."""
    if not isinstance(scores, Mapping) or not scores or not scores.keys() <= anatomy.sizes.keys():
        raise LotteryError(
            f"measure {name} must return a mapping from {', '.join(anatomy.sizes)} to scores"
        )
    fitting: Scores = {}
    for kind, modules in scores.items():
        sizes = anatomy.sizes[kind]
        if not isinstance(modules, Mapping) or modules.keys() != sizes.keys():
            raise LotteryError(
                f"measure {name} must return scores of all {len(sizes)} modules with {kind}"
            )
        fitting[kind] = {}
        for module, size in sizes.items():
            values = modules[module]
            refuse_unfit(values, size, f"measure {name}: the scores of the {kind} of {module}")
            fitting[kind][module] = values.detach().to("cpu", torch.float64)
    return fitting
