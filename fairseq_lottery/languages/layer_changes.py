"""How much a fine-tuning has changed each group of layers, and whether such groups matter most."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
from torch import Tensor

from fairseq_lottery.adapters import group_of
from fairseq_lottery.analysis.similarity.compare import compare_models
from fairseq_lottery.analysis.weights.weight_change import Change
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import ATTENTIONS, FFNS
from fairseq_lottery.languages.drops import ALL
from fairseq_lottery.languages.layer_groups import layer_groups
from fairseq_lottery.languages.permutations import correlation_test, holm

#: columns of the rows of changes, and of their correlations with drops
COLUMNS = ("group", "kind", "weights", "relative_distance", "cosine", "cka")
CORRELATIONS = (
    *("language", "kind", "measure", "groups", "value", "p", "p_holm", "smallest_p"),
    *("permutations", "note"),
)
#: measure of a change -> the change; large means changed
_CHANGES = {
    "relative_distance": lambda value: value,
    "cosine": lambda value: 1 - value,
    "cka": lambda value: 1 - value,
}
#: fewest groups that are correlated
_FEWEST = 3
#: part of a recording -> kinds of attention in its layers
_KINDS = {"encoder": ("enc_self",), "decoder": ("dec_self", "enc_dec")}
_IN_LAYER = re.compile(r"\blayers\.\d{1,6}\.")
Rows = list[dict[str, Any]]


def layer_changes(before: Mapping[str, Tensor], after: Mapping[str, Tensor], grouping: str) -> Rows:
    """Return a row for each group of layers and kind: distance and cosine of the weights.

    The kinds are those of attention, FFNs, and all of these together. Layer norms are not counted:
    their weights are near 1, so they have much of the norm and hide the change of the others.

    Raises:
        LotteryError: the models have no layers, or different ones.
    """
    names = [name for name in before if _IN_LAYER.search(name)]
    others = {name for name in after if _IN_LAYER.search(name)}
    if not names or set(names) != others:
        example = sorted(set(names) ^ others)
        reason = f"only one of them has {example[0]}" if example else "they have no layers"
        raise LotteryError(
            f"the two models have different layers: {reason}; give two checkpoints of one"
            " architecture"
        )
    rows: Rows = []
    kinds = [kind for kind in (*ATTENTIONS, *FFNS) if kind in set(map(group_of, names))]
    for kind in (*kinds, ALL):
        for group, members in layer_groups(names, grouping).items():
            counted = kinds if kind == ALL else [kind]
            own = [name for name in members if group_of(name) in counted]
            if own:
                change, size = _change(before, after, own)
                row: dict[str, Any] = {"group": group, "kind": kind, "weights": size}
                values = {"relative_distance": change.relative_distance, "cosine": change.cosine}
                rows.append({**row, **{n: v for n, v in values.items() if v is not None}})
    return rows


def _change(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], names: Sequence[str]
) -> tuple[Change, int]:
    total, size = Change(), 0
    for name in names:
        try:
            total = total + Change.of(*(one[name].detach().cpu().float().numpy()
                                        for one in (before, after)))  # fmt: skip
        except LotteryError as error:
            raise LotteryError(f"{name}: {error}") from None
        size += before[name].numel()
    return total, size


def add_cka(rows: Rows, recordings: Sequence[Union[str, Path]], grouping: str) -> None:
    """Add linear CKA of two recordings to rows of changes: the mean over the layers of a group.

    A layer of the decoder counts for both kinds of its attention.

    Raises:
        LotteryError: a recording cannot be read, or they have different words.
    """
    found: dict[str, list[float]] = {}
    for row in compare_models(*recordings, measures=["linear-cka"]).rows:
        if row["layer"] == row["other_layer"]:
            name = f"{row['part']}.layers.{int(row['layer']) - 1}"
            found.setdefault(name, []).append(float(row["value"]))
    for group, names in layer_groups(found, grouping).items():
        for row in rows:
            own = [
                value
                for name in names
                for value in found[name]
                if row["kind"] in (ALL, *_KINDS[name.partition(".")[0]])
            ]
            if own and row["group"] == group:
                row["cka"] = float(np.mean(own))


def drop_correlations(changes: Rows, drops: Sequence[Mapping[str, Any]], seed: int = 1) -> Rows:
    """Return Spearman's correlation of change and drop over groups, for each language.

    It is positive if the groups that changed most matter most. Each kind of attention is
    correlated over its groups, and ``attention`` over all groups of single kinds.

    Raises:
        LotteryError: no group of the drops has a change.
    """
    by_place = {(row["group"], row["kind"]): row for row in changes}
    if not any((row["group"], row["kind"]) in by_place for row in drops):
        raise LotteryError(
            "no group of the drops is a group of the changes; give the --layers of the drops"
        )
    rows: Rows = []
    for language in dict.fromkeys(row["language"] for row in drops):
        own = [row for row in drops if row["language"] == language]
        for kind, cells in _by_kind(own):
            for measure, change_of in _CHANGES.items():
                pairs = [
                    (change_of(place[measure]), row["drop"])
                    for row in cells
                    if measure in (place := by_place.get((row["group"], row["kind"]), {}))
                ]
                if pairs:
                    place = {"language": language, "kind": kind, "measure": measure}
                    rows.append({**place, **_correlate(pairs, seed)})
    for row, p in zip(rows, holm([row.get("p", math.nan) for row in rows])):
        if not math.isnan(p):
            row["p_holm"] = p
    return rows


def _by_kind(
    drops: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    kinds = list(dict.fromkeys(row["kind"] for row in drops))
    for kind in kinds:
        yield kind, [row for row in drops if row["kind"] == kind]
    single = [kind for kind in kinds if kind in ATTENTIONS]
    if len(single) > 1:
        yield "attention", [row for row in drops if row["kind"] in single]


def _correlate(pairs: Sequence[tuple[float, float]], seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"groups": len(pairs)}
    if len(pairs) < _FEWEST:
        return {**row, "note": f"fewer than {_FEWEST} groups"}
    changes, drops = (np.array(values) for values in zip(*pairs))
    tested = correlation_test(changes, drops, seed)
    if math.isnan(tested.value):
        return {**row, "note": "all changes or all drops are equal"}
    return {
        **row,
        "value": tested.value,
        "p": tested.p,
        "smallest_p": tested.smallest,
        "permutations": tested.count,
    }
