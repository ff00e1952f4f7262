"""A stage: one command line, the files it reads and the files it leaves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

KINDS = (
    *("rank", "search", "choose", "draw"),
    *("adopt", "close", "train"),
    *("generate", "score"),
)
#: those that leave the models of a training: an existing run's, a pruned one's, or its own
TRAINED = ("adopt", "close", "train")
#: those that run a model on sentences, on one GPU where there are any
RUNNING = ("rank", "search", "generate")


@dataclass(frozen=True)
class Stage:
    """One command line. Paths are relative to the workflow's folder, where it is run.

    Attributes:
        name: unique, ``KIND-FOLDER`` with the slashes of its folder turned into dashes.
        kind: one of ``KINDS``.
        folder: where its log and its record go.
        title: what it is, for a reader.
        command: the plain command line.
        needs: files that it reads, each left by another stage.
        leaves: files that other stages read. The record says that all of them are there.
        facts: what checking and recording it takes besides.
    """

    name: str
    kind: str
    folder: str
    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    leaves: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def record(self) -> str:
        """The file that exists once the stage is finished."""
        return f"{self.folder}/{self.kind}.json"

    @property
    def log(self) -> str:
        """Where its output goes."""
        return f"{self.folder}/{self.kind}.log"

    def to_json(self) -> dict[str, Any]:
        """As ``plan.json`` holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Stage:
        """Back from ``to_json``."""
        lists = {name: tuple(item) for name, item in value.items() if isinstance(item, list)}
        return cls(**{**value, **lists})


def stage_name(kind: str, folder: str) -> str:
    """What a stage is called by its kind and folder."""
    return f"{kind}-{folder.replace('/', '-')}"
