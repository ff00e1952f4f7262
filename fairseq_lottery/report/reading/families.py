"""Families: the groups of all data sets of one plan, and the evaluations that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation, slug


@dataclass(frozen=True, eq=False)
class Family:
    """The groups of one plan with several data sets, whose shares are of the same quantity.

    Attributes:
        title: title of the plan.
        slug: prefix of file names; empty if the report has only one such plan and quantity.
        groups: data set -> its group.
    """

    title: str
    slug: str
    groups: Mapping[str, Group]

    @property
    def first(self) -> Group:
        """The group of the first data set."""
        return next(iter(self.groups.values()))

    @property
    def sparsities(self) -> list[float]:
        """All shares in the order of the groups."""
        first = self.first
        shares = {share for group in self.groups.values() for share in group.sparsities}
        descends = first.sparsities != tuple(sorted(first.sparsities))
        return sorted(shares, reverse=descends)

    @property
    def techniques(self) -> dict[str, str]:
        """All techniques with their titles."""
        return {n: t for group in self.groups.values() for n, t in group.techniques.items()}

    def file(self, name: str) -> str:
        """Return the file name of a table or plot."""
        return f"{self.slug}-{name}" if self.slug else name


@dataclass(frozen=True)
class View:
    """One evaluation and metric of each data set.

    Attributes:
        title: words for headings and captions.
        slug: part of file names.
        keys: data set -> its table.
    """

    title: str
    slug: str
    keys: Mapping[str, Evaluation]


def families(groups: Sequence[Group]) -> list[Family]:
    """Return the families with at least two data sets."""
    plans: dict[str, dict[str, dict[str, Group]]] = {}  # plan -> quantity -> data set -> group
    for group in groups:
        if group.data_set is not None:
            by_rows = plans.setdefault(group.data_set.plan, {})
            by_rows.setdefault(group.rows, {})[group.data_set.name] = group
    found = []
    for number, by_rows in enumerate(plans.values(), 1):
        for rows, own in by_rows.items():
            first = next(iter(own.values()))
            if len(own) > 1 and first.data_set is not None:
                names = [f"plan{number}"] if len(plans) > 1 else []
                names += [rows] if len(by_rows) > 1 else []
                found.append(Family(first.data_set.title, "-".join(names), own))
    return found


def title_of_plan(groups: Sequence[Group]) -> Optional[str]:
    """Return the title of the plan of all groups, if it is one plan with several data sets."""
    plans = {group.data_set and group.data_set.plan: group.data_set for group in groups}
    data_set = next(iter(plans.values()))
    return data_set.title if data_set is not None and len(plans) == 1 else None


def views(family: Family) -> list[View]:
    """Return the evaluations of a family: by the first metric of each data set, then by others.

    Other metrics have a view if at least two data sets have them.
    """
    by_evaluation: dict[str, dict[str, list[Evaluation]]] = {}
    for name, group in family.groups.items():
        for key in group.tables:
            own = by_evaluation.setdefault(key.evaluation, {}).setdefault(name, [])
            own += [key] if key.metric not in [each.metric for each in own] else []
    found = []
    for evaluation, keys in by_evaluation.items():
        firsts = {name: own[0] for name, own in keys.items()}
        candidates = [(slug(evaluation), firsts)]
        later = dict.fromkeys(key.metric for own in keys.values() for key in own[1:])
        for metric in later:
            same = {n: key for n, own in keys.items() for key in own if key.metric == metric}
            candidates.append((slug(f"{metric}-{evaluation}"), same))
        for name, view in candidates:
            if len(view) > 1:
                metrics = ", ".join(dict.fromkeys(key.metric for key in view.values()))
                words = next(iter(view.values())).words
                found.append(View(f"{metrics}: {words}", name, view))
    return found
