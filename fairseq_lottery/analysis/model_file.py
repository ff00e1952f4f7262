"""``ModelFile``: weights and mask of a stored model, which measures of weights read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Optional, Union

from torch import Tensor

from fairseq_lottery.formats import Source, read_source
from fairseq_lottery.masks import Mask


@dataclass(frozen=True)
class ModelFile:
    """A checkpoint, snapshot, ticket or compact model.

    Attributes:
        source: its content.
    """

    source: Source

    @classmethod
    def open(cls, path: Union[str, Path]) -> ModelFile:
        """Read a file; see ``read_source`` for errors."""
        return cls(read_source(path))

    @cached_property
    def shared(self) -> dict[Any, Any]:
        """Intermediate results that measures share, by key; they live as long as this object."""
        return {}

    @property
    def name(self) -> str:
        """Path of the file."""
        return str(self.source.path)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Name -> tensor on the CPU, a tied tensor once."""
        return self.source.weights

    @property
    def mask(self) -> Optional[Mask]:
        """Its mask; None for a dense model."""
        return self.source.mask
