"""Extensions: packages above the core, which the core loads only if a file or option needs them.

``heads`` prunes whole attention heads and FFN units; ``analysis`` looks inside models. An extension
is a package with some of these modules: ``hooks`` implements ``Components``; ``plugin`` registers
names with fairseq and loads nothing else until a training uses one of them; ``workflow.techniques``
registers techniques; ``report`` adds a section to a report, and ``report.data_sets`` one about
several data sets.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, Protocol, cast

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fairseq_lottery.formats.source import Source
    from fairseq_lottery.masks import Mask

#: extension -> its modules that are loaded for all extensions
EXTENSIONS = {
    "heads": ("plugin", "report", "report.data_sets", "workflow.techniques"),
    "analysis": ("report",),
}


class ComponentPruning(Protocol):
    """Components that a draw prunes in addition to the weights that it ranks."""

    #: mask that also prunes the weights of pruned components
    mask: Mask
    #: entries of the ticket's record
    record: Mapping[str, Any]

    def restrict(self, mask: Mask) -> Optional[Mask]:
        """Return ``mask`` without the components' weights; None if the draw prunes no component."""

    def without_biases(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``values`` with the biases of pruned components set to zero."""


class Cut(Protocol):
    """Description of the components that were cut out of a model."""

    def describe(self) -> str:
        """Return a description of two lines."""


class Components(Protocol):
    """Functions for heads and FFN units that the core calls. Each may raise ``LotteryError``."""

    def prune_draw(
        self, mask: Mask, source: Source, path: Optional[str]
    ) -> Optional[ComponentPruning]:
        """Return the components that a draw prunes, by the choice in ``path`` or by its mask."""

    def problem_of_gates(self, source: Source, state: Any) -> Optional[str]:
        """Return what is wrong with the learned gates in a criterion's state; None if valid."""

    def refuse_other_cut(
        self, weights: Mapping[str, Tensor], settings: Any, architecture: Mapping[str, Any]
    ) -> None:
        """Refuse weights whose shapes do not match the cut that the model's settings record."""

    def whole_weights(self, weights: Mapping[str, Tensor], settings: Any) -> dict[str, Tensor]:
        """Return the weights of a cut model at full size, with zeros in place of cut components."""

    def cut_model(self, model: nn.Module, settings: Any) -> None:
        """Cut a fairseq model in place, as its settings record."""

    def whole_checkpoint(self, state: Mapping[str, Any], path: Any) -> dict[str, Any]:
        """Return a plain checkpoint of a cut model at full size, with zeros for cut components."""

    def slim_checkpoint(self, state: Mapping[str, Any], path: Any) -> tuple[dict[str, Any], Cut]:
        """Return a plain checkpoint without components that contribute nothing, and the cut."""

    def narrow(self, spec: Any, settings: Any) -> None:
        """Cut a CTranslate2 model in place, as the settings of the fairseq model record."""

    def refuse_other_model(self, model: nn.Module, settings: Any) -> None:
        """Refuse settings of a cut model that do not match ``model`` before the cut."""


def components() -> Components:
    """Import and return the functions that prune heads and FFN units."""
    return cast(Components, importlib.import_module("fairseq_lottery.heads.hooks"))


def load_plugins() -> list[Any]:
    """Import each module that registers names of an extension with fairseq."""
    return _load("plugin")


def load_reports() -> list[Any]:
    """Import each module whose ``section`` an extension adds to a report."""
    return _load("report")


def load_data_set_reports() -> list[Any]:
    """Import each module whose ``data_set_section`` an extension adds for several data sets."""
    return _load("report.data_sets")


def load_techniques() -> list[Any]:
    """Import the techniques that each extension registers with the workflow, without torch."""
    return _load("workflow.techniques")


def _load(module: str) -> list[Any]:
    return [
        importlib.import_module(f"fairseq_lottery.{name}.{module}")
        for name, modules in EXTENSIONS.items()
        if module in modules
    ]
