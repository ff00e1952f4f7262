"""Techniques that close heads, FFN units and FFN blocks; each row is a share of these.

``heads-lowest``, ``units-random`` and so on: a strategy on the dense run, then no training, or one.
The rows of the searches of Prasanna et al. 2020, ``s-`` and ``m-``, are shares of the metric.
"""

from __future__ import annotations

from inspect import Signature, signature
from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import Gradients, Importance
from fairseq_lottery.options.axes import MEASURE, PER, RANKING, STRATEGY, UNSHARED
from fairseq_lottery.workflow.trainings.techniques import Cells, technique
from fairseq_lottery.workflow.trainings.training import Closing
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary

#: what a search leaves, each of the same size
SUBNETWORKS = ("good", "random", "bad")
#: strategies that take a share
STRATEGIES = tuple(name for name in STRATEGY.names if name not in UNSHARED)

#: as ``heads choose --kind``
KINDS = ("heads", "units", "blocks")
#: of each kind, as ``heads choose --types``
TYPES = {"heads": ("enc_self", "dec_self", "enc_dec"),
         **dict.fromkeys(("units", "blocks"), ("enc_ffn", "dec_ffn"))}  # fmt: skip
#: whatever stands behind ``heads-``, ``units-`` and ``blocks-`` in a technique's name
OWN_NAMES = (*STRATEGIES, *(name for name in SUBNETWORKS if name != "random"), "gates")


def _closes(parts: Callable[..., Closing]) -> Callable[..., Cells]:
    """The technique that closes in each row what ``parts(v, share, **own)`` says.

    Its settings are those of what follows, which all have, and ``parts``'s own.
    """

    def plan(
        v: Vocabulary,
        then: str = "fine-tune",
        updates: Optional[int] = None,
        lr: Optional[float] = None,
        sparsity: float = 0.0,
        **own: Any,
    ) -> Cells:
        for share in v.sparsities:
            yield share, v.close(parts(v, share, **own), then, updates, lr, sparsity)

    shared = list(signature(plan).parameters.values())[:-1]
    own = list(signature(parts).parameters.values())[2:]
    plan.__signature__ = Signature([*shared, *own])  # type: ignore[attr-defined]
    plan.__doc__ = parts.__doc__
    return plan


def _by(kind: str, strategy: str) -> Callable[..., Cells]:
    """The technique of a strategy; those that rank have a measure besides."""

    def ranked(
        v: Vocabulary,
        share: float,
        at_least: int = 0,
        measure: str = Importance.measure,
        per: str = Gradients.per,
        normalise: bool = False,
    ) -> Closing:
        """Parts of the dense run by their importance in it."""
        _refuse(v, kind, at_least, measure, per, normalise)
        ranks = {"measure": measure, "per": per, "normalise": normalise}
        return _closing(v, kind, share, strategy, at_least, **ranks)

    def placed(v: Vocabulary, share: float, at_least: int = 0) -> Closing:
        """Parts of the dense run by chance, or by where they are."""
        _refuse(v, kind, at_least)
        return _closing(v, kind, share, strategy, at_least)

    def typed(v: Vocabulary, share: float, at_least: int = 0, types: Any = ()) -> Closing:
        """Whole types one after the other, in this order."""
        _refuse(v, kind, at_least)
        return _closing(v, kind, share, strategy, at_least, types=_order(kind, types))

    return _closes(
        typed if strategy == "types" else ranked if strategy in RANKING else placed
    )


def _order(kind: str, types: Any) -> str:
    """Types as the command takes them; all of them, so that a row is a share of all parts."""
    if types == ():
        return ""
    if not isinstance(types, tuple) or sorted(map(str, types)) != sorted(TYPES[kind]):
        given = list(types) if isinstance(types, tuple) else types
        raise LotteryError(
            f"types is the order in which {kind} are closed, all of [{', '.join(TYPES[kind])}],"
            f" not {given!r}"
        )
    return ",".join(types)


def _closing(
    v: Vocabulary, kind: str, share: float, strategy: str, at_least: int, **ranks: Any
) -> Closing:
    return Closing(
        of=v.dense,
        kind=kind,
        share=share,
        strategy=strategy,
        at_least=at_least,
        subset=v.judged_on,
        **ranks,
    )


def _learned(kind: str) -> Callable[..., Cells]:
    def learned(v: Vocabulary, share: float, learning: Optional[int] = None) -> Closing:
        """What gates have learned to close, one training under gates a row (Voita 2019)."""
        _refuse(v, kind)
        return Closing(v.learn(kind, share, learning), kind, share, measure="gates")

    return _closes(learned)


def _searched(kind: str, way: str, subnetwork: str) -> Callable[..., Cells]:
    def searched(
        v: Vocabulary,
        share: float,
        at_least: int = 0,
        per: str = Gradients.per,
        normalise: bool = False,
    ) -> Closing:
        """What a search closes, or what a control of the same size does (Prasanna 2020)."""
        _refuse(v, kind, at_least, "gradient", per, normalise)
        ranks = {"measure": "gradient", "per": per, "normalise": normalise, "way": way}
        return _closing(v, kind, share, subnetwork, at_least, **ranks)

    return _closes(searched)


def _pruned(subnetwork: str) -> Callable[..., Cells]:
    def pruned(
        v: Vocabulary,
        then: str = "fine-tune",
        updates: Optional[int] = None,
        lr: Optional[float] = None,
    ) -> Cells:
        """Prune what m-pruning does, or what a control of the same size does (Prasanna 2020)."""
        if v.growth.prunable not in ("all-matrices", "no-embeddings") or v.growth.keep_dense:
            raise LotteryError(
                "m-pruning takes the smallest weights of all matrices but the embeddings; leave"
                " prunable and keep_dense out"
            )
        for share in v.sparsities:
            parts = Closing(
                v.dense, "weights", share, "magnitude", subnetwork, subset=v.judged_on
            )
            yield share, v.close(parts, then, updates, lr)

    return pruned


def _refuse(
    v: Vocabulary,
    kind: str,
    at_least: Any = 0,
    measure: str = Importance.measure,
    per: str = Gradients.per,
    normalise: Any = False,
) -> None:
    """Refuse what no ``heads`` command would take."""
    spared = "ffn" if kind == "heads" else "attention"
    if v.growth.prunable == spared:
        raise LotteryError(f"prunable: {spared} leaves the {kind} dense; write all-matrices")
    # learned gates have a technique of their own, which trains them; no code of a user's is in a
    # fingerprint
    known = [name for name in MEASURE.names if name != "gates"]
    if measure not in known:
        raise LotteryError(f"there is no measure {measure!r}; choose one of {', '.join(known)}")
    if measure == "confidence" and kind != "heads":
        raise LotteryError(f"confidence is of heads; choose another measure for {kind}")
    PER.refuse_unknown(per)
    if type(normalise) is not bool:
        raise LotteryError(f"normalise is true or false, not {normalise!r}")
    if type(at_least) is not int or at_least < 0:
        raise LotteryError(f"at_least is a whole number of parts, not {at_least!r}")


for _kind in KINDS:
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
    technique(f"m-{_subnetwork}", f"m-pruning, {_subnetwork}", "metric")(_pruned(_subnetwork))
