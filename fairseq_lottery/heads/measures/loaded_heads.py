"""A file of ours as a model that runs in fairseq, with its heads and FFN units, and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.gates.learned_gates import learned_in
from fairseq_lottery.inference.loaded_model import Live, batches, examples, live
from fairseq_lottery.inference.model_builder import arguments_of


@dataclass(frozen=True)
class LiveHeads(Live):
    """A model in evaluation mode, and its heads and FFN units."""

    anatomy: Anatomy

    def gates(self, parts: Optional[Parts] = None) -> Gates:
        """Return gates of the model, closed where ``parts`` closes them."""
        gates = Gates(self.model, self.anatomy)
        if parts is not None:
            if parts.anatomy != self.anatomy:
                raise LotteryError(
                    f"the choice of heads and units is of another model than {self.source.path}"
                )
            gates.set(parts)
        return gates

    @property
    def ignored(self) -> tuple[int, int]:
        """``</s>`` and padding, which have the same number in all dictionaries of fairseq's."""
        dictionary = next(iter(self.evaluation.dictionaries.values()))
        return dictionary.eos(), dictionary.pad()

    def learned(self) -> Mapping[str, Tensor]:
        """Return the parameters of the gates in a checkpoint, by kind."""
        path = self.source.path
        if self.source.kind != "checkpoint":
            raise LotteryError(f"{path} is a {self.source.kind}; learned gates are in checkpoints")
        try:
            found = learned_in(self.source.state.get("criterion"), self.anatomy)
        except LotteryError as error:
            raise LotteryError(f"{path}: {error}") from None
        if found is None:
            raise LotteryError(
                f"{path} has learned no gates; train it with --criterion"
                " label_smoothed_cross_entropy_gates"
            )
        return found.theta


def live_heads(path: Union[str, Path], data: Optional[str] = None, cpu: bool = False) -> LiveHeads:
    """Bring a file to life, as ``inference.loaded_model.live`` does; refuses one without heads."""
    made = live(path, data, cpu)
    shapes = {name: tuple(weight.shape) for name, weight in made.weights.items()}
    anatomy = Anatomy.of(shapes, vars(arguments_of(made.source)))
    return LiveHeads(made.source, made.weights, made.model, made.evaluation, anatomy)


@dataclass(frozen=True)
class Sample:
    """Sentences that something is measured on.

    Attributes:
        subset: of the data folder.
        sentences: how many, evenly spread; None for all.
        tokens: of a batch, at most, with padding.
    """

    subset: str = "valid"
    sentences: Optional[int] = None
    tokens: int = 4096

    def __post_init__(self) -> None:
        if self.sentences is not None and self.sentences < 1:
            raise LotteryError(f"--sentences {self.sentences} leaves none; give 1 or more")
        if self.tokens < 1:
            raise LotteryError(f"--max-tokens {self.tokens} leaves no room for a sentence")

    def batches(self, made: Live) -> Iterator[dict[str, Any]]:
        """Yield all of it in fairseq's batches, on the model's device."""
        return batches(examples(made, self.subset, self.sentences), self.tokens, made.device)
