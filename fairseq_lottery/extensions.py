"""Extensions: rooms above the core, which the rooms below load only where a file or option asks.

``heads`` is the one that there is: what prunes whole attention heads and FFN units. An extension is
a package with ``hooks``, which implements ``Components``; ``plugin``, which registers names with
fairseq and loads nothing else before a training asks for one of them; ``workflow.techniques``; and
``report``, which adds a section to a report.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, Protocol, cast

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fairseq_lottery.formats.source import Source
    from fairseq_lottery.masks import Mask

EXTENSIONS = ("heads",)


class ComponentPruning(Protocol):
    """What a draw prunes as whole components beside the weights that it ranks."""

    #: without the weights of pruned components
    mask: Mask
    #: entries of the ticket's record
    record: Mapping[str, Any]

    def restrict(self, mask: Mask) -> Optional[Mask]:
        """Return ``mask`` without their weights; None if the draw itself prunes no component."""

    def without_biases(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``values`` with the biases of pruned components at zero."""


class Cut(Protocol):
    """What was cut out of a model."""

    def describe(self) -> str:
        """Return two lines for a reader."""


class Components(Protocol):
    """What heads and FFN units add to the rooms below. Every function raises ``LotteryError``."""

    def prune_draw(
        self, mask: Mask, source: Source, path: Optional[str]
    ) -> Optional[ComponentPruning]:
        """Return what a draw from ``source`` prunes: by the choice in ``path``, or its own mask."""

    def problem_of_gates(self, source: Source, state: Any) -> Optional[str]:
        """Return what is wrong with the learned gates in the state of a criterion, if anything."""

    def refuse_other_cut(
        self, weights: Mapping[str, Tensor], settings: Any, architecture: Mapping[str, Any]
    ) -> None:
        """Refuse weights that are not what the settings of their model say was cut out of it."""

    def whole_weights(self, weights: Mapping[str, Tensor], settings: Any) -> dict[str, Tensor]:
        """Return the weights of a cut model with zeros in the old places."""

    def cut_model(self, model: nn.Module, settings: Any) -> None:
        """Cut out of a model of fairseq, in place, what its settings say."""

    def whole_checkpoint(self, state: Mapping[str, Any], path: Any) -> dict[str, Any]:
        """Return a plain checkpoint of a cut model with zeros in the old places."""

    def slim_checkpoint(self, state: Mapping[str, Any], path: Any) -> tuple[dict[str, Any], Cut]:
        """Return a plain checkpoint without what contributes nothing, and what that was."""

    def narrow(self, spec: Any, settings: Any) -> None:
        """Cut out of a model of CTranslate2, in place, what the settings of fairseq's say."""

    def refuse_other_model(self, model: nn.Module, settings: Any) -> None:
        """Refuse settings of a cut model that are not those of ``model`` before the cut."""


def components() -> Components:
    """Load what prunes heads and FFN units."""
    return cast(Components, importlib.import_module("fairseq_lottery.heads.hooks"))


def load_plugins() -> list[Any]:
    """Import what each extension registers with fairseq."""
    return _load("plugin")


def load_reports() -> list[Any]:
    """Import what each extension adds to a report: ``section``."""
    return _load("report")


def load_techniques() -> list[Any]:
    """Import the techniques that each extension registers with the workflow, without torch."""
    return _load("workflow.techniques")


def _load(module: str) -> list[Any]:
    return [importlib.import_module(f"fairseq_lottery.{name}.{module}") for name in EXTENSIONS]
