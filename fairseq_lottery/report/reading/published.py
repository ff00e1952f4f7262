"""Published figures from the package's data files; they are never mixed with measured ones."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import WEIGHTS

FOLDER = Path(__file__).parents[1] / "published"
#: technique of figures that do not depend on the technique
EVERY = "all"


@dataclass(frozen=True)
class PublishedMeasure:
    """A published figure of a measure of the inside of models.

    Attributes:
        technique, sparsity: the model; a measure of two models compares it with the dense one.
        measure: name of the measure here.
        place: column of the measure's rows -> text, such as ``layer`` -> ``1``.
        value: the figure as printed; a range if single figures are not known.
        note: how it is known.
    """

    technique: str
    sparsity: float
    measure: str
    place: Mapping[str, str]
    value: str
    note: str


@dataclass(frozen=True)
class PublishedTransfer:
    """A published figure of masks of one data set (or of a control) on another.

    Attributes:
        source, target: data sets; ``source`` is the name of a technique for controls.
        value: difference to the full model of the target as printed.
    """

    source: str
    target: str
    sparsity: float
    value: str


@dataclass(frozen=True)
class Published:
    """The figures of one published table.

    Attributes:
        title, citation, url: the publication.
        computed: metric -> how it was computed, and over how many runs.
        recipe: settings of the trainings, as far as the publication states them.
        notes: notes on all figures.
        values: metric, technique, sparsity -> figure as printed.
        remarks: the same keys -> remark on that figure.
        rows: the quantity whose share a sparsity gives, one of ``plan.ROWS``.
        measures: figures of measures, in the order of their file.
        data_sets: data set -> its figures, for publications of several data sets.
        transfers: figures of masks of one data set on another.
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
    measures: tuple[PublishedMeasure, ...] = ()
    data_sets: Mapping[str, Published] = field(default_factory=dict)
    transfers: tuple[PublishedTransfer, ...] = ()

    def of_data_set(self, name: str) -> Optional[Published]:
        """Return the figures of a data set, whose name may differ in case and punctuation."""
        wanted = _letters(name)
        return next((own for n, own in self.data_sets.items() if _letters(n) == wanted), None)


def names() -> list[str]:
    """Return the valid values of ``published`` in a plan."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> Published:
    """Read published figures by name.

    Raises:
        LotteryError: the name is not in ``names()``.
    """
    known = names()
    if name not in known:
        choices = ", ".join(known)
        raise LotteryError(f"published figures {name!r} are unknown; choose one of {choices}")
    about = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    about["notes"] = tuple(about["notes"])
    figures: dict[str, dict[tuple[str, str, float], tuple[str, str]]] = {"": {}}
    with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["metric"], row["technique"], float(row["sparsity"]))
            figures.setdefault(row.get("data", ""), {})[key] = (row["value"], row["note"])
    tables = {
        data: Published(
            values={key: value for key, (value, _) in own.items()},
            remarks={key: remark for key, (_, remark) in own.items() if remark},
            **about,
        )
        for data, own in figures.items()
    }
    whole = tables.pop("")
    return replace(
        whole,
        measures=_measures(name),
        data_sets={
            data: replace(own, title=f"{own.title}: {data}") for data, own in tables.items()
        },
        transfers=_transfers(name),
    )


def _transfers(name: str) -> tuple[PublishedTransfer, ...]:
    path = FOLDER / f"{name}.transfer.csv"
    if not path.is_file():
        return ()
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(
            PublishedTransfer(row["source"], row["target"], float(row["sparsity"]), row["value"])
            for row in csv.DictReader(file)
        )


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _measures(name: str) -> tuple[PublishedMeasure, ...]:
    path = FOLDER / f"{name}.measures.csv"
    if not path.is_file():
        return ()
    own = ("technique", "sparsity", "measure", "value", "note")
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(
            PublishedMeasure(
                technique=row["technique"],
                sparsity=float(row["sparsity"]),
                measure=row["measure"],
                place={column: text for column, text in row.items() if text and column not in own},
                value=row["value"],
                note=row["note"],
            )
            for row in csv.DictReader(file)
        )


def compare_recipes(
    published: Mapping[str, Any], here: Mapping[str, Any]
) -> tuple[list[str], list[tuple[str, Any, Any]]]:
    """Return the entries that two recipes share, and those that differ: (entry, published, here).

    First those that both state, then those that only one of them states (the other is None).
    """
    common = [key for key in published if key in here]
    equal = [key for key in common if is_same_entry(published[key], here[key])]
    changed = [key for key in common if key not in equal]
    single = [key for key in [*published, *here] if (key in published) != (key in here)]
    return equal, [(key, published.get(key), here.get(key)) for key in changed + single]


def is_same_entry(a: Any, b: Any) -> bool:
    """Return whether two entries are equal: ``"0.1"`` equals 0.1, and ``[x]`` equals x."""
    a, b = (x[0] if isinstance(x, list) and len(x) == 1 else x for x in (a, b))
    try:
        return float(a) == float(b)
    except (TypeError, ValueError):
        return bool(a == b)
