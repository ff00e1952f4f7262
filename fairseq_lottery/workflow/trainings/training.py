"""Descriptions of trainings by their axes; equal descriptions are the same training."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional

from fairseq_lottery.adapters import TRANSLATION, TaskAdapter
from fairseq_lottery.options import changed
from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.draw import Draw
from fairseq_lottery.workflow.trainings.labels import label_of
from fairseq_lottery.workflow.trainings.pair_mask import PAIR_MASKS, PairMask
from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: resets whose random draws have changed since version 1, which their fingerprints record
_REDRAWN = ("random", "random-sign", "shuffle", "shuffle-layers")


@dataclass(frozen=True)
class Weights:
    """The weights of a training at one update, as a snapshot stores them."""

    training: Training
    update: int

    @property
    def file(self) -> str:
        """Path of the snapshot, or of the pre-trained checkpoint."""
        if self.training.pretrained is not None:
            return self.training.pretrained[0]
        return f"{self.training.folder}/snapshot_{self.update}.safetensors"


@dataclass(frozen=True, eq=False)
class Training:
    """One run of fairseq-train: its flags, seed, ticket and pruning schedule.

    Two trainings are equal if their fingerprints are equal.

    Attributes:
        flags: the flags of the configuration, as changed by a technique.
        updates: ``--max-update``; 0 for a model that is pruned and not trained.
        processes: number of data-parallel processes, which multiplies the batch size.
        adopted: folder of an existing run that replaces this training, and the SHA-256 of its
            last checkpoint.
        data: name of the data set; empty if it has none.
        pretrained: for weights that exist before the plan, their checkpoint and its SHA-256; such
            a training is never run.
    """

    flags: Flags
    seed: int
    updates: int
    processes: int = 1
    ticket: Optional[Draw] = None
    pruning: Optional[PruningSchedule] = None
    adopted: Optional[tuple[str, str]] = None
    task: TaskAdapter = TRANSLATION
    data: str = ""
    pretrained: Optional[tuple[str, str]] = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Training) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def at(self, update: int) -> Weights:
        """Return the weights after ``update`` updates.

        Survivors of a run that starts from pre-trained weights have these at update 0.
        """
        if update == 0 and self.ticket is not None and self.keeps_pretrained:
            return self.ticket.start
        return Weights(self, update)

    def model(self, checkpoint: str) -> str:
        """Return the path of the ``best``, ``last`` or ``average:N`` model."""
        return f"{self.folder}/{model_file(checkpoint)}"

    @property
    def state_file(self) -> str:
        """Path of the last checkpoint, which has the optimizer state."""
        return f"{self.adopted[0] if self.adopted else self.folder}/checkpoint_last.pt"

    @property
    def ticket_file(self) -> str:
        """Path of the training's ticket."""
        return f"{self.folder}/ticket.safetensors"

    @property
    def pair_masks_file(self) -> str:
        """Path of the masks of pairs of languages."""
        return f"{self.folder}/{PAIR_MASKS}"

    @property
    def pair_masks(self) -> tuple[PairMask, ...]:
        """Masks of pairs of languages; empty if it trains under one mask."""
        return self.ticket.pair_masks if self.ticket is not None else ()

    @property
    def first_update(self) -> int:
        """Update at which the training starts."""
        return self.ticket.first_update if self.ticket is not None else 0

    @property
    def is_fine_tuning(self) -> bool:
        """Whether it trains all weights of a pre-trained checkpoint."""
        drawn = self.ticket
        return drawn is not None and drawn.mask_from.pretrained is not None and not drawn.sparsity

    @property
    def keeps_pretrained(self) -> bool:
        """Whether its survivors start from pre-trained weights as they are."""
        drawn = self.ticket
        if drawn is None or drawn.reset != "rewind":
            return False
        return drawn.start.training.pretrained is not None

    @property
    def title(self) -> str:
        """Name in messages."""
        return f"{self.label}{f' on {self.data}' if self.data else ''}, seed {self.seed}"

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights that is pruned in the last model, by the mask of a pair."""
        if self.pruning is not None:
            return self.pruning.sparsity
        return self.ticket.sparsity if self.ticket is not None else 0.0

    @property
    def is_drawn(self) -> bool:
        """Whether a ticket is drawn; components are pruned without one if nothing is trained."""
        return self.ticket is not None and (self.updates > 0 or self.components is None)

    @property
    def has_gates(self) -> bool:
        """Whether the ticket prunes the components that learned gates close."""
        return self.components is not None and self.components.measure == "gates"

    @property
    def components(self) -> Optional[ComponentChoice]:
        """Components that the ticket prunes, or a search; None if it has neither."""
        return self.ticket.components if self.ticket is not None else None

    @property
    def row(self) -> float:
        """Row of a table: the sparsity, or the share of components that is pruned."""
        return self.components.share if self.components is not None else self.sparsity

    @property
    def parents(self) -> tuple[Training, ...]:
        """Trainings that the ticket is drawn from."""
        drawn = self.ticket
        if drawn is None:
            return ()
        ranked = [mask.run for mask in drawn.pair_masks]
        ranked += [drawn.components.of] if drawn.components is not None else []
        return tuple(dict.fromkeys((drawn.mask_from, drawn.start.training, *ranked)))

    def ancestors(self) -> Iterator[Training]:
        """Yield every training that this one depends on, each once, and itself last."""
        seen: set[Training] = set()

        def walk(training: Training) -> Iterator[Training]:
            if training in seen:
                return
            seen.add(training)
            for parent in training.parents:
                yield from walk(parent)
            yield training

        yield from walk(self)

    @cached_property
    def content(self) -> dict[str, Any]:
        """Everything that decides the weights, under stored names, without paths."""
        content: dict[str, Any] = {
            "flags": self.flags.of_weights(),
            "seed": self.seed,
            "processes": self.processes,
            **self.task.record,
        }
        if self.data:
            content["data"] = self.data
        if self.pretrained is not None:
            content = {"pretrained": self.pretrained[1]}
        if self.adopted is not None:
            content["adopted"] = self.adopted[1]
        if self.ticket is not None:
            drawn = self.ticket
            content["ticket"] = {
                **changed(drawn, without=("mask_from", "start", "components", "pair_masks")),
                **({"parts": drawn.components.content} if drawn.components is not None else {}),
                **({"drawn": 2} if drawn.reset in _REDRAWN else {}),
                **({"pair_masks": [m.content for m in self.pair_masks]} if self.pair_masks else {}),
                "mask_from": drawn.mask_from.fingerprint,
                "start": f"{drawn.start.training.fingerprint}@{drawn.start.update}",
            }
        if self.pruning is not None:
            content["growth"] = changed(self.pruning)
        return content

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ``content``, which identifies the training on every machine."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def label(self) -> str:
        """Name in folders and messages, such as ``rewind5000-0.9``; not unique."""
        return label_of(self)

    @cached_property
    def folder(self) -> str:
        """Path in the workflow's folder: data set, seed, label and fingerprint."""
        data_set = f"{self.data}/" if self.data else ""
        return f"{data_set}seed{self.seed}/{self.label}-{self.fingerprint[:8]}"


def planned_files(*files: Optional[str]) -> tuple[str, ...]:
    """Return the files of the workflow's folder, each once.

    Absolute paths exist before the workflow: pre-trained weights, and checkpoints of adopted runs.
    """
    return tuple(file for file in dict.fromkeys(files) if file and not os.path.isabs(file))


def model_file(checkpoint: str) -> str:
    """Return the file name of the model ``best``, ``last`` or ``average:N``."""
    return f"{checkpoint.replace(':', '')}.pt"
