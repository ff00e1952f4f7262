"""Keys of a configuration file that are not options of tickets, with their types."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from typing import Annotated, Any, Optional

from fairseq_lottery.adapters import ADAPTERS, TRANSLATION
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.records.schema import Number, Positive, Rule, Size, at_least, one_of
from fairseq_lottery.workflow.reading.configuration import Resources

#: metrics of sacreBLEU
METRICS = ("BLEU", "chrF", "TER")


def _has_only(*names: str) -> Rule:
    """Return the rule of texts whose only placeholders are ``names``, without format specs."""

    def test(text: str) -> bool:
        try:
            fields = list(string.Formatter().parse(text))
        except ValueError:
            return False
        return all(
            name is None or (name in names and not spec and conversion is None)
            for _, name, spec, conversion in fields
        )

    return Rule(f"a text with no placeholders but {', '.join(f'{{{n}}}' for n in names)}", test)


def _is_like(pattern: str, words: str) -> Rule:
    return Rule(words, lambda text: re.fullmatch(pattern, text) is not None)


_Checkpoint = Annotated[
    str, _is_like(r"best|last|average:[1-9][0-9]{0,8}", "best, last or average:5")
]
#: name of a set of fairseq-preprocess
_Pair = Annotated[str, _is_like(r"[\w@.]+-[\w@.]+", "a pair of languages, as en-de")]
_PairMask = Annotated[
    str,
    _is_like(
        r"(\w+:)?[\w@.]+-[\w@.]+(,[\w@.]+-[\w@.]+)*",
        "a pair of languages, or a combination such as union:fr-en,en-de",
    ),
]
_Subset = Annotated[str, _is_like(r"\w+", "the name of a set, as test or test1")]


@dataclass(frozen=True)
class EvaluateKeys:
    """An entry of ``evaluate``; all keys but ``checkpoint`` require a task that translates."""

    checkpoint: _Checkpoint = "best"
    beam: Optional[Size] = None
    lenpen: Optional[Number] = None
    subset: Optional[_Subset] = None
    pair: Optional[_Pair] = None
    pair_mask: Optional[_PairMask] = None
    references: Optional[str] = None


@dataclass(frozen=True)
class AdoptKeys:
    """Existing runs that replace trainings."""

    dense: Annotated[str, _has_only("seed")]


@dataclass(frozen=True)
class CostKeys:
    """Estimates that are used until a training or a calibration has measured them."""

    seconds_per_update: Optional[Positive] = None
    parameters: Optional[Positive] = None


@dataclass(frozen=True)
class FileKeys:
    """Top-level keys of the file, except options and common settings of techniques."""

    data: str
    train: str
    techniques: tuple[Any, ...]
    task: Annotated[str, one_of(list(ADAPTERS))] = TRANSLATION.name
    references: Optional[str] = None
    generate: Optional[str] = None
    metrics: Optional[tuple[str, ...]] = None
    score_command: Optional[
        dict[str, Annotated[str, _has_only("hypotheses", "references", "sources")]]
    ] = None
    evaluate: tuple[EvaluateKeys, ...] = (EvaluateKeys(),)
    prune: dict[str, Any] = field(default_factory=dict)
    title: Optional[str] = None
    out: Optional[str] = None
    prepare: str = ""
    own_techniques: Optional[str] = None
    resources: Resources = Resources()
    train_env: str = ""
    keep: tuple[Annotated[str, one_of(("checkpoints", "snapshots", "tickets"))], ...] = ()
    adopt: Optional[AdoptKeys] = None
    pretrained: Optional[str] = None
    published: Optional[str] = None
    cost: CostKeys = CostKeys()
    retries: Annotated[int, at_least(0)] = 2
    engine: tuple[Any, ...] = ()
    analyze: Optional[Settings] = None
