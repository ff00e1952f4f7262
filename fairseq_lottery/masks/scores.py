"""What ranks a weight: the lowest scores are pruned first.

A score is a function from ``ScoreInput`` to a float tensor of the matrix's shape. A user's
own is named as ``package.module:function`` and needs no change here.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Callable, Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.streams import uniform
from fairseq_lottery.options.axes import SCORE


@dataclass(frozen=True)
class ScoreInput:
    """What a score may look at, and must not change: one matrix, in fp32.

    Attributes:
        name: the parameter's name.
        trained: its trained weights.
        start: the weights that its training started from, for scores that need ``start``.
        gradient: its accumulated gradient, for scores that need ``gradient``.
        seed: of the draw; a random score derives its own generator from it and ``name``.
    """

    name: str
    trained: Tensor
    start: Optional[Tensor] = None
    gradient: Optional[Tensor] = None
    seed: int = 1


Score = Callable[[ScoreInput], Tensor]


def needs(*what: str) -> Callable[[Score], Score]:
    """Mark a score as needing ``"start"`` weights and/or the accumulated ``"gradient"``."""

    def mark(score: Score) -> Score:
        score.needs = what  # type: ignore[attr-defined]
        return score

    return mark


def needed_by(score: Score) -> tuple[str, ...]:
    """Return what a score was marked to need: ``"start"``, ``"gradient"``, both or nothing."""
    return getattr(score, "needs", ())


def magnitude(given: ScoreInput) -> Tensor:
    """|w|: Brix et al. (2020), Zhu & Gupta (2017); ``large_final`` of Zhou et al. (2019)."""
    return given.trained.abs()


@needs("start")
def magnitude_increase(given: ScoreInput) -> Tensor:
    """|w| - |w_start|: Zhou et al. (2019)."""
    assert given.start is not None
    return given.trained.abs() - given.start.abs()


@needs("start")
def movement(given: ScoreInput) -> Tensor:
    """|w - w_start|: Zhou et al. (2019)."""
    assert given.start is not None
    return (given.trained - given.start).abs()


def random(given: ScoreInput) -> Tensor:
    """Uniform in [0, 1), from ``seed`` and the matrix's name alone.

    Every rank and every stack draws the same mask, see ``fairseq_lottery.masks.streams``.
    """
    numbers = uniform(f"{given.seed}|{given.name}", given.trained.numel())
    return numbers.reshape(given.trained.shape)


SCORES: dict[str, Score] = SCORE.registry(
    {
        "magnitude": magnitude,
        "magnitude-increase": magnitude_increase,
        "movement": movement,
        "random": random,
    }
)


def find_score(name: str) -> tuple[Score, str]:
    """Return the score called ``name`` and the SHA-256 of its source.

    Raises:
        LotteryError: no such score, module or function, or a module that fails.
    """
    SCORE.refuse_unknown(name)
    if name in SCORES:
        score = SCORES[name]
    else:
        module, _, attribute = name.partition(":")
        try:
            score = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # noqa: BLE001 - a user's module raises whatever it likes
            raise LotteryError(
                f"the score {name} cannot be imported ({error}); is its folder on PYTHONPATH?"
            ) from error
        if not callable(score):
            raise LotteryError(f"the score {name} is no function")
    try:
        source = inspect.getsource(score)
    except (OSError, TypeError) as error:
        raise LotteryError(f"the source of the score {name} cannot be read: {error}") from error
    return score, hashlib.sha256(source.encode()).hexdigest()


class _LazyScores(Mapping[str, Tensor]):
    """Computes a matrix's scores at each look, so that never more than one is in memory."""

    def __init__(self, score: Score, inputs: Callable[[str], ScoreInput], names: tuple[str, ...]):
        self._score, self._inputs, self._names = score, inputs, names

    def __getitem__(self, name: str) -> Tensor:
        given = self._inputs(name)
        try:
            scores = self._score(given)
        except Exception as error:  # noqa: BLE001 - a user's score raises whatever it likes
            raise LotteryError(
                f"the score failed on {name} with {type(error).__name__}: {error}"
            ) from error
        if not isinstance(scores, Tensor) or scores.shape != given.trained.shape:
            raise LotteryError(
                f"the score gave {name} something else than a tensor of its shape"
                f" {tuple(given.trained.shape)}"
            )
        return scores.detach().float()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def score_all(
    score: Score,
    trained: Mapping[str, Tensor],
    start: Optional[Mapping[str, Tensor]] = None,
    gradients: Optional[Mapping[str, Tensor]] = None,
    seed: int = 1,
) -> Mapping[str, Tensor]:
    """Name -> fp32 scores of every matrix of ``trained``, computed when looked at.

    Raises:
        LotteryError: the score needs start weights or gradients that are not given, for all
            matrices or, when looked at, for one.
    """
    wanted = needed_by(score)
    for what, given in (("start", start), ("gradient", gradients)):
        if what in wanted and given is None:
            flag = {"start": "--start-from", "gradient": "--gradients"}[what]
            raise LotteryError(f"this score needs {what} values, and there are none; give {flag}")

    def given_for(name: str, what: str, values: Optional[Mapping[str, Tensor]]) -> Optional[Tensor]:
        if values is None or what not in wanted:
            return None
        if name not in values or values[name].shape != trained[name].shape:
            raise LotteryError(
                f"there are no {what} values for {name} of its shape {tuple(trained[name].shape)}"
            )
        return values[name].float()

    own = score in SCORES.values()

    def inputs(name: str) -> ScoreInput:
        weights = trained[name].detach().float()
        return ScoreInput(
            name=name,
            trained=weights if own else weights.clone(),  # it may work in place
            start=given_for(name, "start", start),
            gradient=given_for(name, "gradient", gradients),
            seed=seed,
        )

    return _LazyScores(score, inputs, tuple(trained))
