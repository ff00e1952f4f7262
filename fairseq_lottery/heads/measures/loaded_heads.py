"""A file of ours as a model that runs in fairseq, with its heads and FFN units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.inference.loaded_model import Live, live
from fairseq_lottery.inference.model_builder import arguments_of


@dataclass(frozen=True)
class LiveHeads(Live):
    """A model in evaluation mode, and its heads and FFN units.

    Attributes:
        anatomy: which there are.
    """

    anatomy: Anatomy


def live_heads(path: Union[str, Path], data: Optional[str] = None, cpu: bool = False) -> LiveHeads:
    """Bring a file to life, as ``inference.loaded_model.live`` does.

    Raises:
        LotteryError: what ``live`` refuses; or a model without heads.
    """
    made = live(path, data, cpu)
    shapes = {name: tuple(weight.shape) for name, weight in made.weights.items()}
    anatomy = Anatomy.of(shapes, vars(arguments_of(made.source)))
    return LiveHeads(made.source, made.weights, made.model, made.evaluation, anatomy)
