"""Transfer of masks between the data sets of a plan (Chen et al. 2020, section 4.3, figure 2)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.families import Family, View
from fairseq_lottery.report.statistics.matching import ROUNDING, Verdict, verdict

#: techniques without masks of a data set, which are rows for comparison
CONTROLS = ("random", "pruned-before")
#: techniques whose masks a data set has of its own, if the plan does not transfer these
OWN_MASKS = ("imp", "slt")


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of one origin, trained on the data sets of a view: a row of the transfer matrix.

    Attributes:
        title: label of the row.
        technique: technique of these trainings.
        source: data set of the masks; None for controls.
        own: data set -> technique with the masks that it is compared with, those of its own.
    """

    title: str
    technique: str
    source: Optional[str]
    own: Mapping[str, str]


@dataclass(frozen=True)
class TransferRow:
    """A row of the transfer matrix at one sparsity.

    Attributes:
        targets: data set -> comparison with its full model.
        as_good: number of other data sets on which the masks do at least as well as its own.
        compared: number of other data sets with scores of both masks.
    """

    masks: Masks
    targets: Mapping[str, Verdict]
    as_good: int
    compared: int


def rows_of(family: Family) -> list[Masks]:
    """Return the origins of masks: data sets in their order, then controls."""
    sources = {t: s for group in family.groups.values() for t, s in group.sources.items()}
    kinds: dict[str, dict[str, str]] = {}  # name without the source -> source -> technique
    for technique, source in sources.items():
        kinds.setdefault(technique.removesuffix(f"-{source}"), {})[source] = technique
    rows = []
    for by_source in kinds.values():
        own = {name: by_source.get(name, _own_mask(family, name)) for name in family.groups}
        for source in filter(by_source.get, family.groups):
            technique = by_source[source]
            title = source if len(kinds) == 1 else family.techniques[technique]
            rows.append(Masks(title, technique, source, own))
    controls = [name for name in CONTROLS if name in family.techniques]
    return rows + [
        Masks(family.techniques[name], name, None, rows[0].own) for name in controls if rows
    ]


def _own_mask(family: Family, name: str) -> str:
    return next((t for t in OWN_MASKS if t in family.groups[name].techniques), DENSE)


def transfer_rows(family: Family, view: View, sparsity: float) -> list[TransferRow]:
    """Return the rows that have a score at a sparsity; none if no masks of a data set have any."""
    rows = []
    for masks in rows_of(family):
        targets = {
            name: verdict(family.groups[name], key, masks.technique, sparsity)
            for name, key in view.keys.items()
        }
        others = {name: each for name, each in targets.items() if name != masks.source}
        own = {
            name: verdict(family.groups[name], view.keys[name], masks.own[name], sparsity)
            for name in others
        }
        compared = [name for name in others if others[name].values and own[name].values]
        if any(each.values for each in targets.values()):
            as_good = sum(is_as_good(others[name], own[name]) for name in compared)
            rows.append(TransferRow(masks, targets, as_good, len(compared)))
    return rows if any(row.masks.source is not None for row in rows) else []


def is_as_good(a: Verdict, b: Verdict) -> bool:
    """Return whether the mean of ``a`` is at least as good as that of ``b``."""
    gap = statistics.fmean(a.values) - statistics.fmean(b.values)
    return (-gap if a.lower_is_better else gap) >= -ROUNDING


def transfer_matrices(family: Family, view: View) -> dict[float, list[TransferRow]]:
    """Return sparsity -> rows, for the sparsities with transferred masks."""
    matrices = {share: transfer_rows(family, view, share) for share in family.sparsities if share}
    return {share: rows for share, rows in matrices.items() if rows}


def own_techniques(family: Family) -> list[str]:
    """Return the techniques whose masks belong to each data set: those transferred, IMP and SLT.

    A technique has the transferred masks if a data set trains it and its own transferred masks in
    the same folder.
    """
    names = []
    for name, group in family.groups.items():
        for transferred, source in group.sources.items():
            folders = {c[1:]: t for c, t in group.trainings.items() if c[0] == transferred}
            for technique in group.techniques:
                if source != name or technique in group.sources or technique in names:
                    continue
                own = {c[1:]: t for c, t in group.trainings.items() if c[0] == technique}
                if folders and any(own.get(place) == t for place, t in folders.items()):
                    names.append(technique)
    return list(dict.fromkeys([*names, *(t for t in OWN_MASKS if t in family.techniques)]))
