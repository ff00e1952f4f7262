"""Where masks and start weights come from: checkpoints, snapshots and tickets, read alike."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.adapters import TaskAdapter, adapter_of, stored_adapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import refuse_missing
from fairseq_lottery.formats import container
from fairseq_lottery.formats.checkpoints.architecture import architecture_of
from fairseq_lottery.formats.checkpoints.checkpoint import (
    read_checkpoint,
    refuse_not_finite,
    settings_of,
)
from fairseq_lottery.formats.checkpoints.cut_model import is_cut
from fairseq_lottery.formats.checkpoints.tied_parameters import untie
from fairseq_lottery.formats.compact_model import KIND as MODEL
from fairseq_lottery.formats.compact_model import load_model
from fairseq_lottery.formats.dictionaries import Dictionaries, read_dictionaries
from fairseq_lottery.formats.mask_leaks import (
    count_leaks,
    refuse_leaks,
    stored_mask,
    stored_masters,
)
from fairseq_lottery.formats.snapshot import load_snapshot
from fairseq_lottery.formats.ticket import load_ticket
from fairseq_lottery.masks import Mask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Weights, and what is known of them.

    Attributes:
        path: the file.
        kind: ``checkpoint``, ``snapshot``, ``ticket``, or ``model``, a checkpoint made compact.
        weights: name -> full tensor, a tied tensor once.
        update: number of updates behind the weights, None where the file does not say.
        masters: whether the weights have their full precision: fp32 weights, or the fp32
            masters of a half-precision run. Where not, ranks have ties from rounding.
        mask: what they were trained under, None for a dense run.
        architecture: the model's command-line arguments that shape it.
        in_file: the dictionaries in the file, None where there are none.
        adapter: of the task that the file names.
        rounded: the weights in half precision that a checkpoint has beside its fp32 masters,
            which ``weights`` are; empty where there is but one of both.
        cut: whether heads or FFN units were cut out of the model, which no training starts from.
        record: how a ticket was made; empty for everything else.
        task: settings of the task of a checkpoint or model; empty for everything else.
        pruner: of the run that wrote a snapshot, unless that is ``gradual``.
        closes: whether its ticket, or one that its mask was drawn from, closes heads or FFN units.
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
    rounded: dict[str, Tensor] = field(default_factory=dict)
    cut: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)
    pruner: Optional[str] = None
    closes: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter."""
        return {name: tuple(tensor.shape) for name, tensor in self.weights.items()}

    def find_dictionaries(self) -> Dictionaries:
        """Return the dictionaries in the file, or else those in its data folder.

        Raises:
            LotteryError: neither has them; the sentence says why.
        """
        if self.in_file is not None:
            return self.in_file
        try:
            folder = self.adapter.find_folder(self.task)
            found = read_dictionaries(folder)
        except LotteryError as error:
            raise LotteryError(
                f"the dictionaries of {self.path} are not known: {error}; run this in the folder"
                " that the training ran in, or put the data folder back"
            ) from error
        logger.warning("the dictionaries are those in %s now", folder.path.resolve())
        return found

    @property
    def is_pruned(self) -> bool:
        """Whether its mask prunes anything."""
        return self.mask is not None and self.mask.pruned > 0

    @property
    def groups(self) -> dict[str, Mapping[str, Tensor]]:
        """``weights`` as fairseq loads them and, where they are kept apart, ``masters``."""
        if not self.rounded:
            return {"weights": self.weights}
        masters = {name: self.weights[name] for name in self.rounded}
        return {"weights": {**self.weights, **self.rounded}, "masters": masters}

    @property
    def agrees(self) -> bool:
        """Whether everything that its mask prunes is zero."""
        mask = self.mask
        return mask is None or not any(count_leaks(one, mask) for one in self.groups.values())

    def refuse_leaks(self) -> None:
        """Refuse weights, or masters, where its mask prunes."""
        refuse_leaks(self.path, self.mask, self.groups)

    def digest(self) -> str:
        """SHA-256 over the weights and the mask, whatever file they are in."""
        sha = hashlib.sha256(container.digest(self.weights, {}).encode())
        sha.update((self.mask.digest() if self.mask is not None else "dense").encode())
        return sha.hexdigest()


def read_source(path: Union[str, Path]) -> Source:
    """Read a fairseq checkpoint, a snapshot or a ticket.

    Raises:
        LotteryError: missing, unreadable, damaged, not finite, none of the three, or under
            a mask of another model.
    """
    file = Path(path)
    refuse_missing(file)
    if file.suffix == ".safetensors":
        kind = container.kind_of(file)
        readers = {"ticket": _from_ticket, MODEL: _from_model}
        source = readers.get(kind, _from_snapshot)(file)
    else:
        source = _from_checkpoint(file)
    refuse_not_finite(source.weights, file)
    refuse_not_finite(source.rounded, file)
    if source.mask is not None:
        source.mask.check(source.shapes)
    return source


def _from_ticket(path: Path) -> Source:
    ticket = load_ticket(path)
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
        closes=_closes(ticket.record),
    )


def _closes(record: Mapping[str, Any]) -> bool:
    return bool(record.get("parts") or record.get("closes"))


def _from_snapshot(path: Path) -> Source:
    found = load_snapshot(path)
    return Source(
        path=str(path),
        kind="snapshot",
        weights=found["weights"],
        update=found["record"].get("update"),
        masters=bool(found["record"].get("masters")),
        mask=found["mask"],
        architecture=found["record"].get("architecture", {}),
        in_file=found["dictionaries"],
        adapter=found["adapter"],
        pruner=found["record"].get("pruner"),
        closes="|closed-" in str(found["record"].get("ticket")),  # a signature
    )


def _from_model(path: Path) -> Source:
    state, mask = load_model(path)
    cfg = settings_of(state.get("cfg"))
    common = settings_of(cfg.get("common"))
    settings = settings_of(cfg.get("model"))
    architecture = architecture_of(cfg)
    task = settings_of(cfg.get("task"))
    return Source(
        path=str(path),
        kind=MODEL,
        weights={name: tensor.float() for name, tensor in untie(state["model"])[0].items()},
        update=(state.get("optimizer_history") or [{}])[-1].get("num_updates"),
        masters=not (common.get("fp16") or common.get("bf16")),
        mask=mask,
        architecture=architecture,
        in_file=None,
        adapter=adapter_of(task.get("_name")),
        cut=is_cut(state["model"], settings, architecture, path),
        task=task,
    )


def _from_checkpoint(path: Path) -> Source:
    state = read_checkpoint(path)
    stored = (state.get("task_state") or {}).get("lottery") or {}
    model_weights, _ = untie(state["model"])
    masters = {n: m for n, m in stored_masters(state).items() if n in model_weights}
    weights = {**model_weights, **masters}
    cfg = state.get("cfg") or {}
    # fairseq stores half-precision weights as fp32: only the configuration tells
    common = settings_of(cfg.get("common"))
    half = bool(common.get("fp16") or common.get("bf16")) or any(
        tensor.dtype in (torch.float16, torch.bfloat16) for tensor in state["model"].values()
    )
    architecture = architecture_of(cfg)
    history = state.get("optimizer_history") or [{}]
    dictionaries = stored.get("dictionaries")
    task = settings_of(cfg.get("task"))
    adapter = stored_adapter(stored, path) if stored else adapter_of(task.get("_name"))
    return Source(
        path=str(path),
        kind="checkpoint",
        weights={name: tensor.float() for name, tensor in weights.items()},
        update=history[-1].get("num_updates"),
        masters=not half or bool(masters),
        mask=stored_mask(state),
        architecture=architecture,
        in_file=(
            Dictionaries.from_tensors(dictionaries, adapter.vocabularies) if dictionaries else None
        ),
        adapter=adapter,
        rounded={name: model_weights[name] for name in masters},
        cut=is_cut(state["model"], settings_of(cfg.get("model")), architecture, path),
        task=task,
        closes=_closes(stored.get("ticket") or {}),
    )
