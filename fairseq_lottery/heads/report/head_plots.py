"""Plots of heads: their importance in the dense model, and how many seeds keep each.

A panel has a row per layer and a column per head, the attention types side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Optional

import torch

from fairseq_lottery.heads.components.anatomy import Anatomy, layer_of, type_of
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.report.choices_read import Choices
from fairseq_lottery.report.plots.drawings import Drawing, Size, draw
from fairseq_lottery.report.plots.heat_maps import heat_maps
from fairseq_lottery.report.reading.recipe_groups import Group

#: module -> a value for each head
Values = Mapping[str, Sequence[float]]
#: survival is shown at the share nearest to this one, where most choices are possible
SHOWN = 0.5
_READ = (
    "a row per layer, from 0, and a column per head, for encoder self-attention (enc-self), decoder"
    " self-attention (dec-self) and attention to the encoder (enc-dec)"
)


def importance_grid(group: Group, choices: Choices, page: Size) -> Optional[Drawing]:
    """Plot the importance of the dense model's heads by measure; None without scores of heads."""
    by_measure = {
        measure: own
        for measure, by_seed in choices.importance.items()
        if (own := [scores["heads"] for scores in by_seed.values() if scores.get("heads")])
    }
    if choices.anatomy is None or not by_measure:
        return None
    over, titles = _seeds({measure: len(own) for measure, own in by_measure.items()})
    mean = over if over == "one seed" else f"the mean over {over}"
    return _draw(
        group.file("importance"),
        f"Importance of the heads of the dense model, a panel per measure, {mean}, in percent of"
        f" the largest of the measure: {_READ}.",
        page,
        choices.anatomy,
        {titles[measure]: relative(own) for measure, own in by_measure.items()},
        "importance, % of the largest",
    )


def survival_grid(group: Group, choices: Choices, page: Size) -> Optional[Drawing]:
    """Plot how many seeds keep each head, by technique; None without choices."""
    shown = {
        name: min(shares, key=lambda share: (abs(share - SHOWN), share))
        for name in group.techniques
        if (shares := choices.shares_of(name))
    }
    if choices.anatomy is None or not shown:
        return None
    distinct, twins = _distinct(
        {name: choices.of(name, share) for name, share in shown.items()}, group
    )
    by_title = {
        f"{group.title_of(name)}, {group.label_of(shown[name])} %": own
        for name, own in distinct.items()
    }
    over, titles = _seeds({title: len(own) for title, own in by_title.items()})
    return _draw(
        group.file("survival"),
        f"Heads that are kept, a panel per technique, at the one of its {group.words.shares} that"
        f" is nearest to {100 * SHOWN:g} %: the share of {over} that keep each;"
        f" {_READ}.{twins}",
        page,
        choices.anatomy,
        {titles[title]: kept(own) for title, own in by_title.items()},
        "seeds that keep the head, %",
    )


def _draw(
    slug: str, caption: str, page: Size, anatomy: Anatomy, panels: Mapping[str, Values], label: str
) -> Drawing:
    columns = {
        (first + last) / 2: type_.replace("_", "-")
        for type_, (first, last) in _places(anatomy).items()
    }
    layers = 1 + max(map(layer_of, anatomy.heads))
    rows: dict[float, str] = {n: str(n) for n in range(0, layers, math.ceil(layers / 24))}
    low = min([0.0, *(min(own) for values in panels.values() for own in values.values())])
    cells = [(title, canvas(anatomy, values)) for title, values in panels.items()]
    return draw(
        slug,
        caption,
        page,
        lambda size: heat_maps(cells, columns, rows, size, label, low=low),
    )


def canvas(anatomy: Anatomy, values: Values) -> list[list[float]]:
    """Return rows of layers from 0, with an empty column between types; NaN where no head is."""
    places = _places(anatomy)
    width = 1 + max(last for _, last in places.values())
    rows = [[math.nan] * width for _ in range(1 + max(map(layer_of, anatomy.heads)))]
    for name, own in values.items():
        first, _ = places[type_of(name)]
        rows[layer_of(name)][first : first + len(own)] = list(own)
    return rows


def _places(anatomy: Anatomy) -> dict[str, tuple[int, int]]:
    """Return type -> the columns of its first and last head, by the layer with the most heads."""
    most: dict[str, int] = {}
    for name, heads in anatomy.heads.items():
        most[type_of(name)] = max(heads, most.get(type_of(name), 0))
    places, column = {}, 0
    for type_, heads in most.items():
        places[type_] = (column, column + heads - 1)
        column += heads + 1
    return places


def relative(seeds: Sequence[Mapping[str, torch.Tensor]]) -> Values:
    """Return module -> mean over seeds for each head, divided by the largest absolute mean."""
    names = [name for name in seeds[0] if all(name in scores for scores in seeds)]
    means = {name: torch.stack([scores[name] for scores in seeds]).mean(0) for name in names}
    largest = max((float(mean.abs().max()) for mean in means.values()), default=0.0) or 1.0
    return {name: (mean / largest).tolist() for name, mean in means.items()}


def _seeds(counts: Mapping[str, int]) -> tuple[str, dict[str, str]]:
    """Return the words of a caption for the seeds, and titles, with n where it differs."""
    if len(set(counts.values())) > 1:
        return "its n seeds", {title: f"{title} (n={count})" for title, count in counts.items()}
    count = next(iter(counts.values()))
    return f"{count} seeds" if count > 1 else "one seed", {title: title for title in counts}


def _distinct(
    masks: Mapping[str, list[ComponentMask]], group: Group
) -> tuple[dict[str, list[ComponentMask]], str]:
    """Return techniques with distinct choices, and a sentence about the others.

    A choice is often trained in several ways, or not at all; its panel is shown once.
    """
    distinct: dict[str, list[ComponentMask]] = {}
    same: dict[str, list[str]] = {}
    for name, own in masks.items():
        twin = next((first for first, kept in distinct.items() if kept == own), None)
        if twin is None:
            distinct[name] = own
        else:
            same.setdefault(group.title_of(twin), []).append(group.title_of(name))
    text = "; ".join(f"{twin} stands for {', '.join(names)}" for twin, names in same.items())
    return distinct, f" The same heads are shown once: {text}." if text else ""


def kept(choices: list[ComponentMask]) -> Values:
    """Return module -> the share of the choices that keep each head."""
    names = choices[0]["heads"]
    stacked = {name: torch.stack([one["heads"][name] for one in choices]) for name in names}
    return {name: own.double().mean(0).tolist() for name, own in stacked.items()}
