"""Trainings described by their axes; equal descriptions are one training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional

from fairseq_lottery.adapters import TRANSLATION, TaskAdapter
from fairseq_lottery.options import Gradients, Prunable, Ranking, Reset, Schedule, changed
from fairseq_lottery.options.axes import SCORE
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: resets whose draws have changed: what an older version drew is another training
_REDRAWN = ("random", "random-sign", "shuffle", "shuffle-layers")


@dataclass(frozen=True)
class Weights:
    """The weights of a training at one update: what a snapshot holds."""

    training: Training
    update: int

    @property
    def file(self) -> str:
        """The snapshot that holds them."""
        return f"{self.training.folder}/snapshot_{self.update}.safetensors"


@dataclass(frozen=True)
class ComponentChoice:
    """The components that are pruned before a training starts, or the weights that a search prunes.

    Attributes:
        of: the training whose last model is looked at.
        kind: ``heads``, ``units`` or ``blocks`` (in phases heads and blocks); or ``weights``.
        share: of the components of the kind that is pruned; of a search that stops the share of the
            full model's metric, exp(-loss), that has to be left.
        way: how they are found: ``choose`` by a strategy, in ``steps`` with importance estimated
            anew, or as Prasanna et al. 2020 do: in three ``phases``, or by ``magnitude``.
        strategy: of ``heads choose``, or which subnetwork of a search.
        types: the order of ``heads choose --types``, with commas; empty for its own.
        measure, per, normalise: as of ``heads importance``; None where nothing ranks components.
        at_least: components of each module that are kept.
    """

    of: Training
    kind: str
    share: float
    way: str = "choose"
    strategy: str = "lowest"
    measure: Optional[str] = None
    per: str = Gradients.per
    normalise: bool = False
    at_least: int = 0
    subset: str = "valid"
    types: str = ""

    @property
    def label(self) -> str:
        """For a reader, as ``heads-lowest-0.5``."""
        how = "gates" if self.measure == "gates" else self.strategy
        first = f"-{self.types.partition(',')[0]}" if self.types else ""
        return f"{self.family}-{how}{first}-{self.share:g}"

    @property
    def family(self) -> str:
        """What is pruned: its kind, or ``s`` and ``m`` after the searches of Prasanna et al."""
        return {"phases": "s", "magnitude": "m"}.get(self.way, self.kind)

    @property
    def share_pruned(self) -> Optional[float]:
        """The share of the kind that is pruned, None where a search finds it."""
        return self.share if self.way in ("choose", "steps") else None

    @property
    def scores(self) -> str:
        """The name of what ranks, as ``gradient-sentence``."""
        per = f"-{self.per}" if self.measure == "gradient" else ""
        other = f"-{self.subset}" if self.subset != "valid" else ""
        return f"{self.measure}{per}{'-normalised' * self.normalise}{other}"

    @property
    def content(self) -> dict[str, Any]:
        """All that decides what is pruned."""
        own = {n: getattr(self, n) for n in self.__dataclass_fields__ if n not in ("of", "types")}
        types = {"types": self.types} if self.types else {}
        # its stream was once that of a random mask
        drawn = {"drawn": 2} if (self.way, self.strategy) == ("magnitude", "random") else {}
        return {**own, **types, **drawn, "of": self.of.fingerprint}


@dataclass(frozen=True)
class DrawnFrom:
    """What a ticket is drawn from: trainings where the command takes files.

    Attributes:
        mask_from: the training whose last weights are ranked.
        start: what survivors go back to.
        sparsity: share of the prunable weights that is pruned.
        takes_mask: take the mask that ``mask_from`` was trained under, rank nothing.
        components: heads or FFN units that are pruned besides, or the weights that a search prunes.
    """

    mask_from: Training
    start: Weights
    sparsity: float
    takes_mask: bool = False
    components: Optional[ComponentChoice] = None


@dataclass(frozen=True)
class Draw(Reset, Prunable, Ranking, DrawnFrom):
    """A ticket: whose mask, on whose weights, and the options of its draw."""

    @property
    def first_update(self) -> int:
        """Update that its training starts at."""
        return self.start.update if self.update_counter == "rewind" else 0


@dataclass(frozen=True)
class PruningSchedule(Prunable, Ranking, Schedule):
    """Pruning during the training, at updates (Brix et al. 2020, section 2.1)."""


@dataclass(frozen=True, eq=False)
class Training:
    """One fairseq-train: its flags, its seed, what it starts from, its pruning schedule.

    Two are equal when their fingerprints are.

    Attributes:
        flags: the user's, with what a technique changes of them.
        updates: ``--max-update``; 0 for a model that is pruned and not trained.
        processes: how many share a batch; more of them make it larger.
        adopted: an existing run of fairseq that stands for this training: its folder, and the
            SHA-256 of its last checkpoint.
        task: what is trained.
    """

    flags: Flags
    seed: int
    updates: int
    processes: int = 1
    ticket: Optional[Draw] = None
    pruning: Optional[PruningSchedule] = None
    adopted: Optional[tuple[str, str]] = None
    task: TaskAdapter = TRANSLATION

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Training) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def at(self, update: int) -> Weights:
        """Its weights after ``update`` updates."""
        return Weights(self, update)

    def model(self, checkpoint: str) -> str:
        """The file of its ``best``, ``last`` or ``average:N`` weights."""
        return f"{self.folder}/{model_file(checkpoint)}"

    @property
    def ticket_file(self) -> str:
        """The file of its ticket."""
        return f"{self.folder}/ticket.safetensors"

    @property
    def first_update(self) -> int:
        """Update that it starts at."""
        return self.ticket.first_update if self.ticket is not None else 0

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"{self.label}, seed {self.seed}"

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights that its last model has lost."""
        if self.pruning is not None:
            return self.pruning.sparsity
        return self.ticket.sparsity if self.ticket is not None else 0.0

    @property
    def components(self) -> Optional[ComponentChoice]:
        """The choice of what its ticket prunes, or a search; None without such."""
        return self.ticket.components if self.ticket is not None else None

    @property
    def row(self) -> float:
        """Where it stands in a table: its sparsity, or the share of components that it prunes."""
        return self.components.share if self.components is not None else self.sparsity

    @property
    def parents(self) -> tuple[Training, ...]:
        """The trainings that its ticket is drawn from."""
        drawn = self.ticket
        if drawn is None:
            return ()
        looked_at = (drawn.components.of,) if drawn.components is not None else ()
        return tuple(dict.fromkeys((drawn.mask_from, drawn.start.training, *looked_at)))

    def ancestors(self) -> Iterator[Training]:
        """Every training that it depends on, itself last, each once."""
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
        """All that decides its weights; flags of logging and saving, and paths, do not."""
        content: dict[str, Any] = {
            "flags": self.flags.of_weights(),
            "seed": self.seed,
            "processes": self.processes,
            **self.task.record,
        }
        if self.adopted is not None:
            content["adopted"] = self.adopted[1]
        if self.ticket is not None:
            drawn = self.ticket
            content["ticket"] = {
                **changed(drawn, without=("mask_from", "start", "components")),
                **({"parts": drawn.components.content} if drawn.components is not None else {}),
                **({"drawn": 2} if drawn.reset in _REDRAWN else {}),
                "mask_from": drawn.mask_from.fingerprint,
                "start": f"{drawn.start.training.fingerprint}@{drawn.start.update}",
            }
        if self.pruning is not None:
            content["growth"] = changed(self.pruning)
        return content

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ``content``: which training this is, wherever and whenever it runs."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def label(self) -> str:
        """Its kind for a reader, as ``rewind5000-0.9``; not unique."""
        parts: list[str] = []
        if self.ticket is not None:
            drawn = self.ticket
            score = SCORE.stored_name(drawn.score)
            parts += [score.replace(":", ".")] if score != "magnitude" else []
            parts += [drawn.scope.replace(":", "of")] if drawn.scope != "layer" else []
            if drawn.components is None:
                parts += [f"{drawn.reset}{drawn.start.update}", f"{drawn.sparsity:g}"]
            else:
                trained = f"{drawn.reset}{drawn.start.update}" if self.updates else "closed"
                parts += [trained, drawn.components.label]
                parts += [f"{drawn.sparsity:g}"] if drawn.sparsity else []
        if self.pruning is not None:
            parts += ["prune", f"{self.pruning.sparsity:g}"]
        return "-".join(parts) or "dense"

    @cached_property
    def folder(self) -> str:
        """Where it lives in the workflow's folder: the seed, its kind and its fingerprint."""
        return f"seed{self.seed}/{self.label}-{self.fingerprint[:8]}"


def model_file(checkpoint: str) -> str:
    """The name of the file of ``best``, ``last`` or ``average:N``."""
    return f"{checkpoint.replace(':', '')}.pt"
