"""Read any file with weights: checkpoint, snapshot, ticket or compact model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.adapters import TaskAdapter, adapter_of, stored_adapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import model_file, refuse_missing, sha256_of
from fairseq_lottery.formats import container
from fairseq_lottery.formats.checkpoints.archive_dictionaries import read_beside
from fairseq_lottery.formats.checkpoints.checkpoint import (
    read_checkpoint,
    refuse_not_finite,
)
from fairseq_lottery.formats.checkpoints.checkpoint_entries import stored_entries, stored_update
from fairseq_lottery.formats.checkpoints.cut_model import is_cut, refuse_cut
from fairseq_lottery.formats.checkpoints.optimizer_moments import Moments, read_moments
from fairseq_lottery.formats.checkpoints.settings import Settings, read_settings
from fairseq_lottery.formats.checkpoints.tied_parameters import untie
from fairseq_lottery.formats.compact_model import KIND as MODEL
from fairseq_lottery.formats.compact_model import PackedModel, load_model
from fairseq_lottery.formats.dictionaries import Dictionaries, read_dictionaries
from fairseq_lottery.formats.mask_leaks import (
    count_leaks,
    refuse_leaks,
    stored_mask,
    stored_masters,
)
from fairseq_lottery.formats.mask_state import mask_from_state
from fairseq_lottery.formats.model_structure import structure_of
from fairseq_lottery.formats.ticket import refuse_other_types, ticket_of
from fairseq_lottery.formats.ticket_record import refuse_malformed
from fairseq_lottery.masks import Mask, shapes_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Weights of a file with everything that the file states about them.

    Attributes:
        path: path of the file.
        kind: ``checkpoint``, ``snapshot``, ``ticket``, or ``model`` (a compact checkpoint).
        weights: name -> full tensor, each tied tensor once; without the head of the task.
        update: number of updates of the weights; None if the file does not store it.
        masters: whether the weights have full precision: fp32 weights, or the fp32 masters of a
            half-precision run. Otherwise rounding causes ties in ranks.
        mask: mask of the training, without the head of the task; None for a dense run.
        architecture: command-line arguments that shape the model.
        in_file: the dictionaries in the file, or None.
        adapter: adapter of the task in the file.
        record: record of a ticket or snapshot; for a checkpoint, that of its ticket.
        settings: settings of a checkpoint or model; otherwise empty.
        state: result of ``read_checkpoint`` for a checkpoint or model; otherwise empty.
        moments: optimizer state of a ticket.
        rounded: half-precision weights of a checkpoint whose ``weights`` are its fp32 masters;
            otherwise empty.
        cut: whether heads or FFN units were cut out of the model, which then cannot be trained.
    """

    path: str
    kind: str
    weights: dict[str, Tensor]
    update: Optional[int]
    masters: bool
    mask: Optional[Mask]
    architecture: dict[str, Any]
    in_file: Optional[Dictionaries]
    adapter: TaskAdapter
    record: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    state: Mapping[str, Any] = field(default_factory=dict)
    moments: Moments = field(default_factory=dict)
    rounded: dict[str, Tensor] = field(default_factory=dict)
    cut: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of every parameter."""
        return shapes_of(self.weights)

    @property
    def structure(self) -> dict[str, int]:
        """Return the known depth, width and heads of the model."""
        return structure_of(self.shapes, self.architecture, self.adapter)

    @property
    def lottery(self) -> Mapping[str, Any]:
        """Return the entries of this plugin in the task state of a checkpoint."""
        return stored_entries(self.state)

    @property
    def prunes_components(self) -> bool:
        """Return whether its ticket, or an ancestor of it, prunes heads or FFN units."""
        if self.kind == "snapshot":
            return "|closed-" in str(self.record.get("ticket"))  # a signature
        return bool(self.record.get("parts") or self.record.get("closes"))

    @cached_property
    def sha256(self) -> Optional[str]:
        """SHA-256 of the file if another program wrote it; None for files of this plugin."""
        return sha256_of(self.path) if self.kind == "checkpoint" and not self.lottery else None

    @cached_property
    def own_dictionaries(self) -> Optional[Dictionaries]:
        """The dictionaries in the file, or beside the model in a released archive, or None."""
        if self.in_file is not None or not self.settings.task:
            return self.in_file
        return read_beside(Path(self.path), self.adapter, self.settings.task, self.weights)

    def find_dictionaries(self) -> Dictionaries:
        """Return the dictionaries in the file or beside it, or else those in its data folder.

        Raises:
            LotteryError: none of them exist, or those beside the file belong to another model.
        """
        if self.own_dictionaries is not None:
            return self.own_dictionaries
        try:
            folder = self.adapter.find_folder(self.settings.task)
            dictionaries = read_dictionaries(folder)
        except LotteryError as error:
            raise LotteryError(
                f"the dictionaries of {self.path} are not known: {error}; run this in the folder"
                " of the training, restore the data folder, or put dict.txt beside a released model"
            ) from error
        logger.warning("the dictionaries are read from %s", folder.path.resolve())
        return dictionaries

    def optimizer_state(self) -> tuple[Moments, dict[str, Any]]:
        """Return moment -> parameter -> tensor, and plain numbers such as ``step``.

        Raises:
            LotteryError: the file has no optimizer state with parameter names.
        """
        if self.kind == "ticket":
            return self.moments, self.record["moment_numbers"]
        if self.kind == "checkpoint":
            return read_moments(self.state, self.path)
        raise LotteryError(
            f"{self.path} is a {self.kind}, which has no optimizer state; keep moments from a"
            " checkpoint, or draw with --moments fresh"
        )

    @property
    def is_pruned(self) -> bool:
        """Return whether its mask prunes at least one weight."""
        return self.mask is not None and self.mask.pruned > 0

    @property
    def groups(self) -> dict[str, Mapping[str, Tensor]]:
        """Return ``weights`` as fairseq loads them, and ``masters`` if there are any."""
        if not self.rounded:
            return {"weights": self.weights}
        masters = {name: self.weights[name] for name in self.rounded}
        return {"weights": {**self.weights, **self.rounded}, "masters": masters}

    @property
    def agrees(self) -> bool:
        """Return whether everything that its mask prunes is zero."""
        return not any(count_leaks(group, self.mask or {}) for group in self.groups.values())

    def refuse_leaks(self) -> None:
        """Refuse weights or masters that are not zero where the mask prunes."""
        refuse_leaks(self.path, self.mask, self.groups)

    def refuse_untrainable(self) -> None:
        """Refuse to train weights that do not match the mask, or a model that was cut."""
        self.refuse_leaks()
        if self.cut:
            refuse_cut(self.path)

    def refuse_pair_masks(self) -> None:
        """Refuse a model with masks of pairs of languages, which is a model for each pair."""
        if self.lottery.get("pair_masks"):
            raise LotteryError(
                f"{self.path} has masks of pairs of languages; write the model of one pair with"
                " fairseq-lottery export --pair, for instance --pair en-de"
            )

    def digest(self) -> str:
        """Return the SHA-256 of weights and mask, which is the same for all kinds of files."""
        sha = hashlib.sha256(container.digest(self.weights, {}).encode())
        sha.update((self.mask.digest() if self.mask is not None else "dense").encode())
        return sha.hexdigest()


def read_source(path: Union[str, Path]) -> Source:
    """Read a fairseq checkpoint, a snapshot, a ticket or a compact model.

    Args:
        path: the file, or the folder of a released archive of fairseq.

    Raises:
        LotteryError: the file is missing, unreadable, malformed, not finite or of another kind, or
            its mask does not fit the model.
    """
    file = Path(model_file(path))
    refuse_missing(file)
    if file.suffix != ".safetensors":
        state = read_checkpoint(file)
        return _validated(_from_state(file, "checkpoint", state, stored_mask(state)))
    kind = container.kind_of(file)
    if kind == MODEL:
        return _validated(_from_state(file, MODEL, *load_model(file)))
    kind = "ticket" if kind == "ticket" else "snapshot"
    return source_of(file, kind, *container.load(file, kind))


def is_compact_model(path: Union[str, Path]) -> bool:
    """Return whether a file is a compact model, without reading its tensors."""
    file = Path(model_file(path))
    refuse_missing(file)
    return file.suffix == ".safetensors" and container.kind_of(file) == MODEL


def outline_of(packed: PackedModel) -> Source:
    """Return the source of a compact model without its mask and the content of its weights."""
    return _without_head(
        _from_state(Path(packed.path), MODEL, packed.state, None, weights=packed.weights)
    )


def source_of(
    path: Union[str, Path], kind: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]
) -> Source:
    """Return the source for the content of a ticket or snapshot."""
    return _validated((_from_ticket if kind == "ticket" else _from_snapshot)(path, tensors, record))


def _validated(source: Source) -> Source:
    source = _without_head(source)
    for tensors in source.groups.values():
        refuse_not_finite(tensors, source.path)
    if source.mask is not None:
        source.mask.check(source.shapes)
    return source


def _without_head(source: Source) -> Source:
    """Return a source without the head of its task; files of a user's own task may have one."""
    adapter, mask = source.adapter, source.mask
    if mask is not None and any(map(adapter.is_head, mask)):
        mask = Mask(adapter.without_head(mask), adapter.without_head(mask.protected))
    moments = {moment: adapter.without_head(m) for moment, m in source.moments.items()}
    weights, rounded = (adapter.without_head(part) for part in (source.weights, source.rounded))
    return replace(source, weights=weights, mask=mask, moments=moments, rounded=rounded)


def _from_ticket(path: Any, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Source:
    ticket = ticket_of(path, tensors, record)
    return Source(
        path=str(path),
        kind="ticket",
        weights=ticket.values,
        update=ticket.record.get("update"),
        masters=bool(ticket.record.get("masters", True)),
        mask=ticket.mask,
        architecture=ticket.record.get("architecture", {}),
        in_file=ticket.dictionaries,
        adapter=ticket.adapter,
        record=ticket.record,
        moments=ticket.moments,
    )


def _from_snapshot(path: Any, tensors: Mapping[str, Tensor], stored: Mapping[str, Any]) -> Source:
    parts = container.split(path, tensors, ("weights", "mask", "dictionary"))
    record = {name: value for name, value in stored.items() if name != "mask"}
    layout = stored.get("mask")
    if not isinstance(layout, (dict, type(None))) or (layout is None and parts["mask"]):
        raise LotteryError(f"{path} is malformed (its mask has no shapes)")
    refuse_malformed(record, path)
    refuse_other_types(parts["weights"], path)
    adapter, symbols = stored_adapter(record, path), parts["dictionary"]
    return Source(
        path=str(path),
        kind="snapshot",
        weights=parts["weights"],
        update=record.get("update"),
        masters=bool(record.get("masters")),
        mask=None if layout is None else mask_from_state({**layout, "bits": parts["mask"]}),
        architecture=record.get("architecture", {}),
        in_file=Dictionaries.from_tensors(symbols, adapter.vocabularies) if symbols else None,
        adapter=adapter,
        record=record,
    )


def _from_state(
    path: Path,
    kind: str,
    state: dict[str, Any],
    mask: Optional[Mask],
    weights: Optional[Mapping[str, Tensor]] = None,
) -> Source:
    stored = stored_entries(state)
    model_weights = untie(state["model"])[0] if weights is None else weights
    masters = {n: m for n, m in stored_masters(state).items() if n in model_weights}
    settings = read_settings(state)
    # fairseq stores half-precision weights as fp32, so the configuration decides
    common = settings.common
    half = bool(common.get("fp16") or common.get("bf16")) or any(
        tensor.dtype in (torch.float16, torch.bfloat16) for tensor in state["model"].values()
    )
    adapter = stored_adapter(stored, path) if stored else adapter_of(settings.task.get("_name"))
    symbols = stored.get("dictionaries")
    return Source(
        path=str(path),
        kind=kind,
        weights={n: tensor.float() for n, tensor in {**model_weights, **masters}.items()},
        update=stored_update(state),
        masters=not half or bool(masters),
        mask=mask,
        architecture=dict(settings.architecture),
        in_file=Dictionaries.from_tensors(symbols, adapter.vocabularies) if symbols else None,
        adapter=adapter,
        record=stored.get("ticket") or {},
        settings=settings,
        state=state,
        rounded={name: model_weights[name] for name in masters},
        cut=is_cut(state["model"], settings, path),
    )
