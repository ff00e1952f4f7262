"""Published figures: read from the package's data files, and never mixed with measured ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import WEIGHTS

FOLDER = Path(__file__).parents[1] / "published"
#: stands for every technique, where a figure does not depend on it
EVERY = "all"


@dataclass(frozen=True)
class Published:
    """The figures of one published table.

    Attributes:
        title, citation, url: where they stand.
        computed: metric -> how it was computed, and over how many runs.
        recipe: what the trainings were, as far as the work states it.
        notes: what has to be known to read the figures.
        values: metric, technique, sparsity -> figure as printed.
        remarks: the same keys -> what is said of that figure alone.
        rows: what sparsities are a share of, one of ``plans.ROWS``.
    """

    name: str
    title: str
    citation: str
    url: str
    computed: Mapping[str, str]
    recipe: Mapping[str, Any]
    notes: tuple[str, ...]
    values: Mapping[tuple[str, str, float], str]
    remarks: Mapping[tuple[str, str, float], str]
    rows: str = WEIGHTS


def names() -> list[str]:
    """The names that a plan's ``published`` may have."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> Published:
    """Read published figures by name; refuses a name that is none of ``names()``."""
    known = names()
    if name not in known:
        raise LotteryError(f"there are no published figures {name!r}; known are {', '.join(known)}")
    about = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    about["notes"] = tuple(about["notes"])
    values, remarks = {}, {}
    with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["metric"], row["technique"], float(row["sparsity"]))
            values[key] = row["value"]
            if row["note"]:
                remarks[key] = row["note"]
    return Published(values=values, remarks=remarks, **about)


def differing(published: Mapping[str, Any], here: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Entries that are not the same in two recipes: (entry, published, here).

    First those that both state, then those that one of them does not state (None).
    """
    stated = [key for key in published if key in here]
    both = [key for key in stated if not same_entry(published[key], here[key])]
    one = [key for key in [*published, *here] if (key in published) != (key in here)]
    return [(key, published.get(key), here.get(key)) for key in both + one]


def same_entry(one: Any, other: Any) -> bool:
    """Whether two entries say the same: ``"0.1"`` is 0.1, and a list of one is its entry."""
    plain = [x[0] if isinstance(x, list) and len(x) == 1 else x for x in (one, other)]
    try:
        return float(plain[0]) == float(plain[1])
    except (TypeError, ValueError):
        return bool(plain[0] == plain[1])
