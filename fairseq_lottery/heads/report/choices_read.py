"""Reading which heads and units the cells keep, and how important the dense model's are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.heads.components.anatomy import Anatomy, layer_of
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.parts_file import load_parts
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.score_table import load_scores
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell, name_of

#: more layers, or heads in all, no Transformer has and no plot can show
_LAYERS, _HEADS = 1000, 1 << 16


@dataclass(frozen=True)
class Choices:
    """What was found.

    Attributes:
        anatomy: of the models, the same for all; None where nothing was found.
        parts: cell -> what it keeps.
        importance: measure -> seed -> scores of the dense model's parts.
        missing, scores_missing: how many choices and scores are recorded but not in the folder.
    """

    anatomy: Optional[Anatomy] = None
    parts: dict[Cell, Parts] = field(default_factory=dict)
    importance: dict[str, dict[int, Scores]] = field(default_factory=dict)
    missing: int = 0
    scores_missing: int = 0

    def shares_of(self, technique: str) -> list[float]:
        """The shares at which a technique has choices, rising."""
        return sorted({share for name, share, _ in self.parts if name == technique})

    def parts_of(self, kind: str) -> int:
        """How many parts of a kind the models have."""
        return sum(self.anatomy.sizes[kind].values()) if self.anatomy is not None else 0

    def of(self, technique: str, share: float) -> list[Parts]:
        """The choices of all seeds, by seed."""
        cells = sorted(cell for cell in self.parts if cell[:2] == (technique, share))
        return [self.parts[cell] for cell in cells]


def read_choices(group: Group) -> Choices:
    """Read every recorded choice, and all scores of the dense model.

    Raises:
        LotteryError: a file that is there cannot be read, or is of another model than the rest.
    """
    first: list[tuple[str, Anatomy]] = []

    def same_model(what: str, anatomy: Anatomy) -> None:
        if not _is_drawn(anatomy):
            raise LotteryError(f"{what} are of a model without heads, or with more than any has")
        first.append((what, anatomy))
        if anatomy != first[0][1]:
            raise LotteryError(
                f"{first[0][0]} and {what} are of models with different heads or units; report"
                " them apart"
            )

    parts: dict[Cell, Parts] = {}
    for cell, path in group.choices.items():
        if is_plain(path):
            parts[cell], _ = load_parts(path)
            same_model(f"the parts of {name_of(cell)}", parts[cell].anatomy)
    importance: dict[str, dict[int, Scores]] = {}
    for (measure, seed), path in sorted(group.importance.items()):
        if is_plain(path):
            anatomy, scores, _ = load_scores(path)
            same_model(f"the scores in {path}", anatomy)
            importance.setdefault(measure, {})[seed] = scores
    return Choices(
        anatomy=first[0][1] if first else None,
        parts=parts,
        importance=importance,
        missing=sum(not is_plain(path) for path in group.choices.values()),
        scores_missing=sum(not is_plain(path) for path in group.importance.values()),
    )


def _is_drawn(anatomy: Anatomy) -> bool:
    """Whether it has heads, and no more of them and of layers than a plot can be of."""
    few = 0 < sum(anatomy.heads.values()) <= _HEADS
    return few and all(layer_of(name) < _LAYERS for name in anatomy.heads)
