"""Scores, which rank weights: the lowest are pruned first.

A score is a function from ``ScoreInput`` to a float tensor of the matrix's shape. Users name their
own scores as ``package.module:function``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.gradient_scores import force, grasp, snip, sparsegpt, synflow, wanda
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.masks.score_input import Score, ScoreInput, needed_by, needs
from fairseq_lottery.masks.streams import uniform
from fairseq_lottery.options.axes import SCORE
from fairseq_lottery.options.own_code import digest_source, load_own


def magnitude(given: ScoreInput) -> Tensor:
    """|w|: Brix et al. (2020), Zhu & Gupta (2017); ``large_final`` of Zhou et al. (2019)."""
    return given.trained.abs()


@needs("start")
def magnitude_increase(given: ScoreInput) -> Tensor:
    """|w| - |w_start|: Zhou et al. (2019)."""
    assert given.start is not None
    return given.trained.abs() - given.start.abs()


# tickets store the digest of a score's source, so the text of these functions must not change
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
        "snip": snip,
        "force": force,
        "grasp": grasp,
        "synflow": synflow,
        "wanda": wanda,
        "sparsegpt": sparsegpt,
    }
)


def find_score(name: str) -> tuple[Score, str]:
    """Return the score called ``name`` and the SHA-256 of its source.

    Raises:
        LotteryError: the score is unknown, cannot be imported, or is not a function.
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
    """Return name -> fp32 scores of every matrix of ``trained``, computed at each lookup.

    Raises:
        LotteryError: the score needs start weights or gradients that are missing; for a single
            matrix only at its lookup.
    """
    needed = needed_by(score)
    for kind, tensors in (("start", start), ("gradient", gradients)):
        if kind in needed and tensors is None:
            remedy = {
                "start": "give --start-from",
                "gradient": "write them by fairseq-lottery gradients, and give --gradients",
            }[kind]
            raise LotteryError(f"this score requires {kind} values; {remedy}")

    def find(name: str, kind: str, tensors: Optional[Mapping[str, Tensor]]) -> Optional[Tensor]:
        if tensors is None or kind not in needed:
            return None
        if name not in tensors or tensors[name].shape != trained[name].shape:
            raise LotteryError(
                f"there are no {kind} values for {name} of its shape {tuple(trained[name].shape)}"
            )
        return tensors[name].float()

    is_ours = score in SCORES.values()

    def inputs(name: str) -> ScoreInput:
        weights = trained[name].detach().float()
        return ScoreInput(
            name=name,
            trained=weights if is_ours else weights.clone(),  # others may change their input
            start=find(name, "start", start),
            gradient=find(name, "gradient", gradients),
            seed=seed,
        )

    return LazyTensors(lambda name: _scores(score, inputs(name)), trained)


def _scores(score: Score, inputs: ScoreInput) -> Tensor:
    try:
        scores = score(inputs)
    except Exception as error:  # noqa: BLE001 - a user's score raises whatever it likes
        raise LotteryError(
            f"the score failed on {inputs.name} with {type(error).__name__}: {error}"
        ) from error
    shape = tuple(inputs.trained.shape)
    if isinstance(scores, Tensor) and scores.is_complex():
        raise LotteryError(f"the score of {inputs.name} is complex, expected real numbers")
    if not isinstance(scores, Tensor) or tuple(scores.shape) != shape:
        actual = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise LotteryError(
            f"the score of {inputs.name} is {actual}, expected a tensor of shape {shape}"
        )
    return scores.detach().float()
