"""What ranks a weight: the lowest scores are pruned first.

A score is a function from ``ScoreInput`` to a float tensor of the matrix's shape. A user's
own is named as ``package.module:function`` and needs no change here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.masks.streams import uniform
from fairseq_lottery.options.axes import SCORE
from fairseq_lottery.options.own_code import digest_source, load_own


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


# tickets record the digest of a score's source, so the text of these functions stays
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
        "distance": movement,
        "random": random,
    }
)


def find_score(name: str) -> tuple[Score, str]:
    """Return the score called ``name`` and the SHA-256 of its source.

    Raises:
        LotteryError: no such score, module or function, or a module that fails.
    """
    SCORE.refuse_unknown(name)
    score = SCORES[name] if name in SCORES else load_own(SCORE.title, name)
    if not callable(score):
        raise LotteryError(f"score {name} is not a function")
    return score, digest_source(SCORE.title, name, score)


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

    return LazyTensors(lambda name: _scores(score, inputs(name)), trained)


def _scores(score: Score, given: ScoreInput) -> Tensor:
    try:
        scores = score(given)
    except Exception as error:  # noqa: BLE001 - a user's score raises whatever it likes
        raise LotteryError(
            f"the score failed on {given.name} with {type(error).__name__}: {error}"
        ) from error
    shape = tuple(given.trained.shape)
    if isinstance(scores, Tensor) and scores.is_complex():
        raise LotteryError(f"the score of {given.name} is complex, expected real numbers")
    if not isinstance(scores, Tensor) or tuple(scores.shape) != shape:
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise LotteryError(
            f"the score of {given.name} is {found}, expected a tensor of shape {shape}"
        )
    return scores.detach().float()
