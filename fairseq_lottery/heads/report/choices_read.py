"""The choices of the cells, and the importance of the dense model's components."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.heads.components.anatomy import Anatomy, layer_of
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.score_table import load_scores
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell, name_of

#: most layers, and most heads in all, that a plot can show
_LAYERS, _HEADS = 1000, 1 << 16


@dataclass(frozen=True)
class Choices:
    """Choices and scores in the folder of a run.

    Attributes:
        anatomy: anatomy of all models; None without choices and scores.
        masks: cell -> the components that it keeps.
        importance: measure -> seed -> scores of the dense model's components.
        missing, scores_missing: number of recorded choices and scores that are not in the folder.
    """

    anatomy: Optional[Anatomy] = None
    masks: dict[Cell, ComponentMask] = field(default_factory=dict)
    importance: dict[str, dict[int, Scores]] = field(default_factory=dict)
    missing: int = 0
    scores_missing: int = 0

    def shares_of(self, technique: str) -> list[float]:
        """Return the shares at which a technique has choices, in increasing order."""
        return sorted({share for name, share, _ in self.masks if name == technique})

    def of(self, technique: str, share: float) -> list[ComponentMask]:
        """Return the choices of all seeds, by seed."""
        cells = sorted(cell for cell in self.masks if cell[:2] == (technique, share))
        return [self.masks[cell] for cell in cells]


def read_choices(group: Group) -> Choices:
    """Read every recorded choice, and all scores of the dense model.

    Raises:
        LotteryError: a file cannot be read, or is for another model than the others.
    """
    anatomies: list[tuple[str, Anatomy]] = []
    masks: dict[Cell, ComponentMask] = {}
    for cell, path in group.choices.items():
        if is_plain(path):
            masks[cell], _ = load_choice(path)
            anatomies.append((f"the components of {name_of(cell)}", masks[cell].anatomy))
    importance: dict[str, dict[int, Scores]] = {}
    for (measure, seed), path in sorted(group.importance.items()):
        if is_plain(path):
            anatomy, scores, _ = load_scores(path)
            anatomies.append((f"the scores in {path}", anatomy))
            importance.setdefault(measure, {})[seed] = scores
    for title, anatomy in anatomies:
        has_few_heads = 0 < anatomy.count("heads") <= _HEADS
        if not has_few_heads or any(layer_of(name) >= _LAYERS for name in anatomy.heads):
            raise LotteryError(
                f"{title} are for a model without heads, or with more than {_HEADS} heads or"
                f" {_LAYERS} layers"
            )
        if anatomy != anatomies[0][1]:
            raise LotteryError(
                f"{anatomies[0][0]} and {title} are for models with different heads or units;"
                " report them separately"
            )
    return Choices(
        anatomy=anatomies[0][1] if anatomies else None,
        masks=masks,
        importance=importance,
        missing=len(group.choices) - len(masks),
        scores_missing=len(group.importance) - sum(map(len, importance.values())),
    )
