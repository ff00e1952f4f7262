"""Drop of each language if a group of layers, or another choice of heads, is pruned.

A model of many languages is evaluated on each language with the same heads pruned, without any
training (Budhraja et al. 2021 fine-tune afterwards; their groups of layers are not published).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy, type_of
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.loaded_heads import LoadedHeads, Sample
from fairseq_lottery.heads.measures.loaded_measures import Evaluator
from fairseq_lottery.languages.layer_groups import layer_groups
from fairseq_lottery.languages.metadata import Metadata

#: columns of the rows; those of the metadata follow
COLUMNS = (
    *("language", "subset", "group", "kind", "pruned", "heads", "metric", "full", "value"),
    *("drop", "relative_drop"),
)
#: kind of attention that stands for all of them
ALL = "all"
#: group and kind of attention -> the heads that are kept
Choices = Mapping[tuple[str, str], ComponentMask]


def choices_by_group(anatomy: Anatomy, grouping: str) -> Choices:
    """Return the choices that prune all heads of a kind of attention in a group of layers.

    If the model has several kinds of attention, ``all`` prunes all of them.
    """
    kinds = list(dict.fromkeys(map(type_of, anatomy.heads)))
    choices = {}
    for kind in (*kinds, *([ALL] if len(kinds) > 1 else [])):
        for group, names in layer_groups(anatomy.heads, grouping).items():
            pruned = {n: list(range(anatomy.heads[n])) for n in names if kind in (ALL, type_of(n))}
            if pruned:
                choices[group, kind] = ComponentMask(anatomy, {"heads": pruned})
    return choices


def measure_drops(
    loaded: LoadedHeads,
    choices: Choices,
    samples: Mapping[str, Sample],
    metric: str = "loss",
    joins: Optional[str] = None,
) -> list[dict[str, Any]]:
    """Return a row for each language and choice.

    ``drop`` is how much worse the metric is: the value of the full model minus that of the pruned
    one, or the reverse for a metric of which less is better. ``relative_drop`` is divided by the
    value of the full model.

    Args:
        samples: language -> its sentences.
        metric, joins: see ``Evaluator``.
    """
    # all subsets are found, or refused, before the first measurement
    evaluators = {name: Evaluator(loaded, one, metric, joins) for name, one in samples.items()}
    rows = []
    for language, evaluate in evaluators.items():
        full = evaluate(ComponentMask(loaded.anatomy, {}))
        for (group, kind), kept in choices.items():
            value = evaluate(kept)
            drop = full - value if evaluate.is_larger_better else value - full
            row: dict[str, Any] = {
                "language": language, "subset": samples[language].subset, "group": group,
                "kind": kind, "pruned": kept.count_pruned("heads"), "heads": kept.count("heads"),
                "metric": metric, "full": full, "value": value, "drop": drop,
            }  # fmt: skip
            if full > 0:
                row["relative_drop"] = drop / full
            rows.append(row)
    return rows


def with_facts(
    rows: Sequence[Mapping[str, Any]], metadata: Metadata
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return the columns, and the rows with the known facts about their languages.

    Raises:
        LotteryError: a column of the metadata has the name of a column of the rows.
    """
    for name in metadata.columns:
        if name in COLUMNS:
            raise LotteryError(
                f"{metadata.path} has the column {name}, which the results have, too; rename it"
            )
    names = list(dict.fromkeys(row["language"] for row in rows))
    languages = dict(zip(names, metadata.languages_of(names)))
    joined = []
    for row in rows:
        facts = metadata.facts(languages[row["language"]])
        joined.append({**row, **{name: f for name, f in facts.items() if f is not None}})
    return (*COLUMNS, *metadata.columns), joined
