"""A file loaded as a model that runs in fairseq, with its heads and FFN units; and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.gates.learned_gates import read_gates
from fairseq_lottery.inference.loaded_model import (
    LoadedModel,
    batches,
    examples,
    load_for_evaluation,
)
from fairseq_lottery.inference.model_builder import arguments_of
from fairseq_lottery.masks import shapes_of


@dataclass(frozen=True)
class LoadedHeads(LoadedModel):
    """A model in evaluation mode, and its heads and FFN units."""

    anatomy: Anatomy

    def gates(self, components: ComponentMask) -> Gates:
        """Return gates of the model; those of pruned components are closed."""
        if components.anatomy != self.anatomy:
            raise LotteryError(
                f"the choice of heads and units is for another model than {self.source.path}"
            )
        gates = Gates(self.model, self.anatomy)
        gates.set(components)
        return gates

    @property
    def ignored(self) -> tuple[int, int, int]:
        """Numbers of ``<s>``, ``</s>`` and padding, the same in all dictionaries of fairseq."""
        dictionary = next(iter(self.evaluation.dictionaries.values()))
        return dictionary.bos(), dictionary.eos(), dictionary.pad()

    def learned(self) -> Mapping[str, Tensor]:
        """Return the parameters of the learned gates in a checkpoint, by kind."""
        path = self.source.path
        if self.source.kind != "checkpoint":
            raise LotteryError(
                f"{path} is a {self.source.kind}, but only checkpoints have learned gates"
            )
        try:
            gates = read_gates(self.source.state.get("criterion"), self.anatomy)
        except LotteryError as error:
            raise LotteryError(f"{path}: {error}") from None
        if gates is None:
            raise LotteryError(
                f"{path} has no learned gates; train with --criterion"
                " label_smoothed_cross_entropy_gates"
            )
        return gates.theta


def load_heads(
    path: Union[str, Path],
    data: Optional[str] = None,
    cpu: bool = False,
    examples_of: Optional[Union[str, Path]] = None,
) -> LoadedHeads:
    """Load a file as a model, as ``load_for_evaluation`` does; reject a model without heads."""
    loaded = load_for_evaluation(path, data, cpu, examples_of)
    shapes = shapes_of(loaded.weights)
    anatomy = Anatomy.of(shapes, vars(arguments_of(loaded.source)))
    return LoadedHeads(loaded.source, loaded.weights, loaded.model, loaded.evaluation, anatomy)


@dataclass(frozen=True)
class Sample:
    """Sentences for measurements.

    Attributes:
        subset: subset of the data folder, such as ``valid``.
        sentences: number of sentences, evenly spread over the subset; None for all.
        tokens: maximum tokens of a batch, with padding.
    """

    subset: str = "valid"
    sentences: Optional[int] = None
    tokens: int = 4096

    def __post_init__(self) -> None:
        if self.sentences is not None and self.sentences < 1:
            raise LotteryError(f"--sentences {self.sentences} is out of range; give 1 or more")
        if self.tokens < 1:
            raise LotteryError(f"--max-tokens {self.tokens} is out of range; give 1 or more")

    def batches(self, loaded: LoadedModel) -> Iterator[dict[str, Any]]:
        """Yield the sentences in fairseq's batches, on the model's device."""
        return batches(examples(loaded, self.subset, self.sentences), self.tokens, loaded.device)
