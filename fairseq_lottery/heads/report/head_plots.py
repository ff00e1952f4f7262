"""Plots of heads: how important the dense model's are, and which stay open in how many seeds.

A panel has a row a layer and a column a head, the attention types side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Optional

import torch

from fairseq_lottery.heads.components.anatomy import Anatomy, layer_of, type_of
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.report.choices_read import Choices
from fairseq_lottery.report.plots.drawings import Drawing, Size, draw
from fairseq_lottery.report.plots.heat_maps import heat_maps
from fairseq_lottery.report.reading.recipe_groups import Group

#: module -> one value a head
Values = Mapping[str, Sequence[float]]
#: survival is shown at the share next to this, where there is most to choose
SHOWN = 0.5
_READ = (
    "a row a layer, from 0, and a column a head, for encoder self-attention (enc-self), decoder"
    " self-attention (dec-self) and attention to the encoder (enc-dec)"
)


def importance_grid(group: Group, choices: Choices, page: Size) -> Optional[Drawing]:
    """Importance of the dense model's heads, a panel a measure; None without scores of heads."""
    found = {}
    for measure, by_seed in choices.importance.items():
        own = [scores["heads"] for scores in by_seed.values() if scores.get("heads")]
        if own:
            found[measure] = own
    if choices.anatomy is None or not found:
        return None
    over, titles = _seeds({measure: len(own) for measure, own in found.items()})
    mean = over if over == "one seed" else f"the mean over {over}"
    return _draw(
        group.file("importance"),
        f"Importance of the heads of the dense model, a panel a measure, {mean}, in percent of the"
        f" largest of the measure: {_READ}.",
        page,
        choices.anatomy,
        {titles[measure]: relative(own) for measure, own in found.items()},
        "importance, % of the largest",
    )


def survival_grid(group: Group, choices: Choices, page: Size) -> Optional[Drawing]:
    """In how many seeds each head stays open, a panel a technique; None without choices."""
    shown = {
        name: min(shares, key=lambda share: (abs(share - SHOWN), share))
        for name in group.techniques
        if (shares := choices.shares_of(name))
    }
    if choices.anatomy is None or not shown:
        return None
    found, twins = _distinct(
        {name: choices.of(name, share) for name, share in shown.items()}, group
    )
    by_title = {
        f"{group.title_of(name)}, {group.label_of(shown[name])} %": own
        for name, own in found.items()
    }
    over, titles = _seeds({title: len(own) for title, own in by_title.items()})
    return _draw(
        group.file("survival"),
        f"Heads that stay open, a panel a technique, at the one of its {group.words.shares} that"
        f" is nearest to {100 * SHOWN:g} %: the share of {over} in which each does;"
        f" {_READ}.{twins}",
        page,
        choices.anatomy,
        {titles[title]: kept(own) for title, own in by_title.items()},
        "seeds in which the head is open, %",
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
    """Rows of layers from 0; between two types an empty column. NaN is where no head is."""
    places = _places(anatomy)
    width = 1 + max(last for _, last in places.values())
    rows = [[math.nan] * width for _ in range(1 + max(map(layer_of, anatomy.heads)))]
    for name, own in values.items():
        first, _ = places[type_of(name)]
        rows[layer_of(name)][first : first + len(own)] = list(own)
    return rows


def _places(anatomy: Anatomy) -> dict[str, tuple[int, int]]:
    """Type -> the columns of its first and last head, by the layer that has the most."""
    most: dict[str, int] = {}
    for name, heads in anatomy.heads.items():
        most[type_of(name)] = max(heads, most.get(type_of(name), 0))
    places, column = {}, 0
    for type_, heads in most.items():
        places[type_] = (column, column + heads - 1)
        column += heads + 1
    return places


def relative(seeds: Sequence[Mapping[str, torch.Tensor]]) -> Values:
    """Module -> the mean over seeds of each head, as a share of the largest absolute mean."""
    names = [name for name in seeds[0] if all(name in scores for scores in seeds)]
    means = {name: torch.stack([scores[name] for scores in seeds]).mean(0) for name in names}
    largest = max((float(mean.abs().max()) for mean in means.values()), default=0.0) or 1.0
    return {name: (mean / largest).tolist() for name, mean in means.items()}


def _seeds(counts: Mapping[str, int]) -> tuple[str, dict[str, str]]:
    """How a caption names the seeds of panels, and the titles, with n where it is not the same."""
    if len(set(counts.values())) > 1:
        return "its n seeds", {title: f"{title} (n={count})" for title, count in counts.items()}
    count = next(iter(counts.values()))
    return f"{count} seeds" if count > 1 else "one seed", {title: title for title in counts}


def _distinct(found: Mapping[str, list[Parts]], group: Group) -> tuple[dict[str, list[Parts]], str]:
    """Techniques without those that keep what an earlier one keeps, and a sentence about these.

    One choice is often trained in several ways, or not at all; its panel stands once.
    """
    distinct: dict[str, list[Parts]] = {}
    same: dict[str, list[str]] = {}
    for name, own in found.items():
        twin = next((other for other, parts in distinct.items() if parts == own), None)
        if twin is None:
            distinct[name] = own
        else:
            same.setdefault(group.title_of(twin), []).append(group.title_of(name))
    said = "; ".join(f"{twin} stands for {', '.join(names)}" for twin, names in same.items())
    return distinct, f" The same heads are shown once: {said}." if said else ""


def kept(choices: list[Parts]) -> Values:
    """Module -> the share of the choices in which each head is open."""
    names = choices[0]["heads"]
    stacked = {name: torch.stack([one["heads"][name] for one in choices]) for name in names}
    return {name: own.double().mean(0).tolist() for name, own in stacked.items()}
