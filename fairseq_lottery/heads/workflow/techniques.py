"""Techniques that close heads, FFN units and FFN blocks; each row is a share of these.

``heads-lowest``, ``units-random`` and so on: a strategy on the dense run, then no training, or one.
The rows of the searches of Prasanna et al. 2020, ``s-`` and ``m-``, are shares of the metric.
"""

from __future__ import annotations

from typing import Any, Callable

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

#: settings of what follows the closing, which all techniques here have, with their defaults
_THEN: dict[str, Any] = {"then": "fine-tune", "updates": None, "lr": None}
_LEAST: dict[str, Any] = {"at_least": 0}
_GRADIENTS: dict[str, Any] = {"per": Gradients.per, "normalise": False}

Own = dict[str, Any]


def _register(
    name: str,
    title: str,
    rows: str,
    closing: Callable[[Vocabulary, float, Own], Closing],
    own: Own,
    then: Own = {**_THEN, "sparsity": 0.0},  # noqa: B006 - it is read only
) -> None:
    """Register the technique that closes in each row what ``closing`` says.

    Args:
        own: settings of ``closing``, with their defaults.
        then: settings of what follows, with their defaults.
    """

    def plan(v: Vocabulary, **given: Any) -> Cells:
        settings = {**then, **own, **given}
        follows = {name: settings.pop(name) for name in then}
        for share in v.sparsities:
            yield share, v.close(closing(v, share, settings), **follows)

    technique(name, title, rows, {**then, **own})(plan)


def _by(kind: str, strategy: str) -> Callable[[Vocabulary, float, Own], Closing]:
    """Parts of the dense run by importance, by chance, by their place, or type after type."""

    def closing(v: Vocabulary, share: float, own: Own) -> Closing:
        if "types" in own:
            own = {**own, "types": _order(kind, own["types"])}
        return _closing(v, kind, share, own, strategy=strategy)

    return closing


def _learned(kind: str) -> Callable[[Vocabulary, float, Own], Closing]:
    """What gates have learned to close, one training under gates a row (Voita 2019)."""

    def closing(v: Vocabulary, share: float, own: Own) -> Closing:
        _refuse(v, kind, {})
        return Closing(v.learn(kind, share, own["learning"]), kind, share, measure="gates")

    return closing


def _searched(kind: str, way: str, subnetwork: str) -> Callable[[Vocabulary, float, Own], Closing]:
    """What a search closes, or what a control of the same size does (Prasanna 2020)."""

    def closing(v: Vocabulary, share: float, own: Own) -> Closing:
        ranked = {**own, "measure": "gradient"}
        return _closing(v, kind, share, ranked, strategy=subnetwork, way=way)

    return closing


def _pruned(subnetwork: str) -> Callable[[Vocabulary, float, Own], Closing]:
    """What m-pruning prunes, or what a control of the same size does (Prasanna 2020)."""

    def closing(v: Vocabulary, share: float, own: Own) -> Closing:
        if v.growth.prunable not in ("all-matrices", "no-embeddings") or v.growth.keep_dense:
            raise LotteryError(
                "m-pruning takes the smallest weights of all matrices but the embeddings; leave"
                " prunable and keep_dense out"
            )
        return Closing(v.dense, "weights", share, "magnitude", subnetwork, subset=v.judged_on)

    return closing


def _closing(v: Vocabulary, kind: str, share: float, own: Own, **more: Any) -> Closing:
    _refuse(v, kind, own)
    return Closing(v.dense, kind, share, subset=v.judged_on, **own, **more)


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


def _refuse(v: Vocabulary, kind: str, own: Own) -> None:
    """Refuse what no ``heads`` command would take."""
    spared = "ffn" if kind == "heads" else "attention"
    if v.growth.prunable == spared:
        raise LotteryError(f"prunable: {spared} leaves the {kind} dense; write all-matrices")
    # learned gates have a technique of their own, which trains them; no code of a user's is in a
    # fingerprint
    known = [name for name in MEASURE.names if name != "gates"]
    measure = own.get("measure", Importance.measure)
    if measure not in known:
        raise LotteryError(f"there is no measure {measure!r}; choose one of {', '.join(known)}")
    if measure == "confidence" and kind != "heads":
        raise LotteryError(f"confidence is of heads; choose another measure for {kind}")
    PER.refuse_unknown(own.get("per", Gradients.per))
    normalise, least = own.get("normalise", False), own.get("at_least", 0)
    if type(normalise) is not bool:
        raise LotteryError(f"normalise is true or false, not {normalise!r}")
    if type(least) is not int or least < 0:
        raise LotteryError(f"at_least is a whole number of parts, not {least!r}")


for _kind in KINDS:
    for _name in STRATEGIES:
        _own = {"measure": Importance.measure, **_GRADIENTS} if _name in RANKING else {}
        _own = {"types": ()} if _name == "types" else _own
        _title = f"{_kind} {_name}"
        _register(f"{_kind}-{_name}", _title, _kind, _by(_kind, _name), {**_LEAST, **_own})
    for _name in ("good", "bad"):  # the strategy random has the same size
        _title, _found = f"{_name} {_kind}, found in steps", _searched(_kind, "steps", _name)
        _register(f"{_kind}-{_name}", _title, _kind, _found, {**_LEAST, **_GRADIENTS})
    _title = f"{_kind} by learned gates"
    _register(f"{_kind}-gates", _title, _kind, _learned(_kind), {"learning": None})
for _name in SUBNETWORKS:
    _found = _searched("heads", "phases", _name)
    _register(f"s-{_name}", f"s-pruning, {_name}", "metric", _found, {**_LEAST, **_GRADIENTS})
    _register(f"m-{_name}", f"m-pruning, {_name}", "metric", _pruned(_name), {}, _THEN)
