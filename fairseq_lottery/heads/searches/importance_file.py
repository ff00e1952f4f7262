"""Importance at every step of a search, as a JSON file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.choice_file import (
    names_format,
    pruned_in,
    save_json,
    stored_content,
)
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.score_table import plain_scores, read_scores

_FORMAT = "fairseq_lottery importance 1"
#: most components times estimates of a file; 100 steps of a Transformer big's units are 5 million
_MOST = 1 << 24
#: significant digits of a score, so that a file is small
_DIGITS = 6


@dataclass(frozen=True)
class StepImportance:
    """Importance in the model of one step.

    Attributes:
        components: the components that the model keeps.
        scores: importance by kind and module; meaningless for pruned components.
    """

    components: ComponentMask
    scores: Scores


def save_importance_steps(
    path: Union[str, Path],
    estimates: Sequence[StepImportance],
    kinds: Collection[str],
    record: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write the scores of some kinds at every step, atomically.

    Args:
        estimates: at least one, all of one model.
    """
    first = estimates[0].components.to_json()
    content = {
        "format": _FORMAT,
        **{name: first[name] for name in ("mode", "heads", "units")},
        "record": dict(record),
        "estimates": [
            {
                "closed": estimate.components.to_json()["closed"],
                "scores": plain_scores({k: estimate.scores[k] for k in kinds}, _DIGITS),
            }
            for estimate in estimates
        ],
    }
    save_json(path, content, overwrite, indent=None)


def is_importance_steps(path: Union[str, Path]) -> bool:
    """Return whether a file names the format of importance at every step."""
    return names_format(path, _FORMAT)


def load_importance_steps(path: Union[str, Path]) -> list[StepImportance]:
    """Return the importance at every step of a search; see ``stored_content`` for errors."""
    description = "file of importance at every step; make one with fairseq-lottery heads search"
    with stored_content(path, _FORMAT, description) as (content, anatomy, _):
        estimates: Any = content.get("estimates")
        if not isinstance(estimates, list) or not estimates:
            raise LotteryError("estimates must be a list with at least one entry")
        if len(estimates) * sum(map(anatomy.count, KINDS)) > _MOST:
            raise LotteryError(f"it has more than {_MOST} scores")
        mode = str(content.get("mode"))
        return [_estimate(entry, anatomy, mode) for entry in estimates]


def _estimate(entry: Any, anatomy: Anatomy, mode: str) -> StepImportance:
    if not isinstance(entry, dict):
        raise LotteryError("an estimate must have closed and scores")
    components = ComponentMask(anatomy, pruned_in(entry), mode)
    return StepImportance(components, read_scores(entry.get("scores"), anatomy))
