"""Titles of recipes: the plan's title, and what differs between recipes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fairseq_lottery.records.plan import Plan


def differing_entries(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each recipe the entries that differ between recipes, as text."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    differing = [k for k in keys if len({json.dumps(r.get(k)) for r in recipes}) > 1]
    return [", ".join(f"{k} {r.get(k, 'not stated')}" for k in differing) for r in recipes]


def recipe_titles(plans: Sequence[Plan]) -> list[str]:
    """Return the plans' titles, with the differing entries of recipes if titles are equal."""
    titles = []
    for plan in plans:
        recipes = [candidate.recipe for candidate in plans if candidate.title == plan.title]
        entries = differing_entries(recipes)[recipes.index(plan.recipe)]
        titles.append(f"{plan.title} ({entries})" if entries else plan.title)
    return titles
