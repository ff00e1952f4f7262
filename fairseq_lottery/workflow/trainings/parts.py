"""Techniques that close heads, FFN units and FFN blocks; each row is a share of these.

``heads-lowest``, ``units-random`` and so on: a strategy on the dense run, then no training, or one.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.trainings.techniques import Cells, technique
from fairseq_lottery.workflow.trainings.training import Closing
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary

#: what a search leaves, each of the same size
SUBNETWORKS = ("good", "random", "bad")
#: strategies of ``heads choose`` that take a share; those that rank come first
RANKING = ("lowest", "highest")
STRATEGIES = (
    *RANKING,
    *("random", "random-per-type", "top", "bottom", "middle", "spare-middle", "alternate"),
    *("apart", "types"),
)
#: of ``heads importance``
MEASURES = ("gradient", "confidence", "gates", "l1", "l2", "adaprune")
PER = ("token", "sentence", "batch")

#: kind -> the types that it has
TYPES = {
    "heads": ("enc_self", "dec_self", "enc_dec"),
    "units": ("enc_ffn", "dec_ffn"),
    "blocks": ("enc_ffn", "dec_ffn"),
}
#: whatever stands behind ``heads-``, ``units-`` and ``blocks-`` in a technique's name
OWN_NAMES = (*STRATEGIES, *(name for name in SUBNETWORKS if name != "random"), "gates")


def _by(kind: str, strategy: str) -> Callable[..., Cells]:
    """The technique of a strategy; those that rank have a measure besides."""

    def ranked(
        v: Vocabulary,
        then: str = "fine-tune",
        updates: Optional[int] = None,
        lr: Optional[float] = None,
        types: Any = None,
        at_least: int = 0,
        measure: str = "gradient",
        per: str = "sentence",
        normalise: bool = False,
    ) -> Cells:
        """Close parts of the dense run by their importance in it."""
        only = _checked(v, kind, types, at_least, measure, per, normalise)
        for share in v.sparsities:
            parts = Closing(
                *(v.dense, kind, share, "choose", strategy, measure, per, normalise),
                types=only,
                at_least=at_least,
            )
            yield share, v.close(parts, then, updates, lr)

    def placed(
        v: Vocabulary,
        then: str = "fine-tune",
        updates: Optional[int] = None,
        lr: Optional[float] = None,
        types: Any = None,
        at_least: int = 0,
    ) -> Cells:
        """Close parts of the dense run by chance, or by where they are."""
        only = _checked(v, kind, types, at_least)
        for share in v.sparsities:
            parts = Closing(v.dense, kind, share, strategy=strategy, types=only, at_least=at_least)
            yield share, v.close(parts, then, updates, lr)

    return ranked if strategy in RANKING else placed


def _learned(kind: str) -> Callable[..., Cells]:
    def learned(
        v: Vocabulary,
        then: str = "fine-tune",
        updates: Optional[int] = None,
        lr: Optional[float] = None,
        learning: Optional[int] = None,
    ) -> Cells:
        """Close what gates have learned to close, one training under gates a row (Voita 2019)."""
        _checked(v, kind)
        for share in v.sparsities:
            parts = Closing(v.learn(kind, share, learning), kind, share, measure="gates")
            yield share, v.close(parts, then, updates, lr)

    return learned


def _searched(kind: str, way: str, subnetwork: str) -> Callable[..., Cells]:
    def searched(
        v: Vocabulary,
        then: str = "fine-tune",
        updates: Optional[int] = None,
        lr: Optional[float] = None,
        at_least: int = 0,
        per: str = "sentence",
        normalise: bool = False,
    ) -> Cells:
        """Close what a search closes, or what a control of the same size does (Prasanna 2020)."""
        _checked(v, kind, None, at_least, "gradient", per, normalise)
        for share in v.sparsities:
            parts = Closing(
                *(v.dense, kind, share, way, subnetwork, "gradient", per, normalise),
                at_least=at_least,
            )
            yield share, v.close(parts, then, updates, lr)

    return searched


def _checked(
    v: Vocabulary,
    kind: str,
    types: Any = None,
    at_least: Any = 0,
    measure: str = "gradient",
    per: str = "sentence",
    normalise: Any = False,
) -> Optional[str]:
    """The types as ``heads choose`` takes them; refuses what no such command would take."""
    spared = {"heads": "ffn", "units": "attention", "blocks": "attention"}[kind]
    if v.growth.prunable == spared:
        raise LotteryError(f"prunable: {spared} leaves the {kind} dense; write all-matrices")
    # learned gates have a technique of their own, which trains them
    known = [name for name in MEASURES if name != "gates"]
    if measure not in known:
        raise LotteryError(f"there is no measure {measure!r}; choose one of {', '.join(known)}")
    if measure == "confidence" and kind != "heads":
        raise LotteryError(f"confidence is of heads; choose another measure for {kind}")
    if per not in PER:
        raise LotteryError(f"there is no per {per!r}; choose one of {', '.join(PER)}")
    if type(normalise) is not bool:
        raise LotteryError(f"normalise is true or false, not {normalise!r}")
    if type(at_least) is not int or at_least < 0:
        raise LotteryError(f"at_least is a whole number of parts, not {at_least!r}")
    if types is None:
        return None
    asked = (types,) if isinstance(types, str) else tuple(types)
    for one in asked:
        if one not in TYPES[kind]:
            raise LotteryError(
                f"there are no {kind} of type {one!r}; choose of {', '.join(TYPES[kind])}"
            )
    return ",".join(asked)


for _kind in TYPES:
    for _strategy in STRATEGIES:
        technique(f"{_kind}-{_strategy}", f"{_kind} {_strategy}", _kind)(_by(_kind, _strategy))
    for _subnetwork in SUBNETWORKS:
        if _subnetwork != "random":  # the strategy of that name has the same size
            _name, _title = f"{_kind}-{_subnetwork}", f"{_subnetwork} {_kind}, found in steps"
            technique(_name, _title, _kind)(_searched(_kind, "steps", _subnetwork))
    technique(f"{_kind}-gates", f"{_kind} by learned gates", _kind)(_learned(_kind))
for _subnetwork in SUBNETWORKS:
    technique(f"s-{_subnetwork}", f"s-pruning, {_subnetwork}", "metric")(
        _searched("heads", "phases", _subnetwork)
    )
