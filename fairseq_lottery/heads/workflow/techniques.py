"""Techniques that prune heads, FFN units and FFN blocks; each row is a share of these.

``heads-lowest``, ``units-random`` and so on: a strategy on the dense run, with or without a
training afterwards. The rows of the searches of Prasanna et al. 2020, ``s-`` and ``m-``, are shares
of the metric.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import ATTENTIONS, FFNS
from fairseq_lottery.heads.components.anatomy import KINDS as KINDS
from fairseq_lottery.options import Gradients, Importance
from fairseq_lottery.options.axes import MEASURE, PER, RANKING, SHARED
from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.techniques import Cells, technique
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary

#: subnetworks that a search writes, each of the same size
SUBNETWORKS = ("good", "random", "bad")
#: kind -> its types, as ``heads choose --types``
TYPES = {"heads": ATTENTIONS, "units": FFNS, "blocks": FFNS}
#: what follows ``heads-``, ``units-`` and ``blocks-`` in a technique's name
OWN_NAMES = (*SHARED, *(name for name in SUBNETWORKS if name != "random"), "gates")

#: settings of what follows the pruning, which all techniques here have, with their defaults
_THEN: dict[str, Any] = {"then": "fine-tune", "updates": None, "lr": None}
_LEAST: dict[str, Any] = {"at_least": 0}
_GRADIENTS: dict[str, Any] = {"per": Gradients.per, "normalise": False}

Own = dict[str, Any]
#: vocabulary, share of the row, settings -> what to prune
Choose = Callable[[Vocabulary, float, Own], ComponentChoice]


def _register(
    name: str,
    title: str,
    rows: str,
    choose: Choose,
    own: Own,
    then: Own = {**_THEN, "sparsity": 0.0},  # noqa: B006 - never changed
) -> None:
    """Register the technique that prunes in each row what ``choose`` returns.

    Args:
        own: settings of ``choose``, with their defaults.
        then: settings of what follows, with their defaults.
    """

    def plan(v: Vocabulary, **given: Any) -> Cells:
        settings = {**then, **own, **given}
        follows = {name: settings.pop(name) for name in then}
        for share in v.sparsities:
            yield share, v.prune_components(choose(v, share, settings), **follows)

    technique(name, title, rows, {**then, **own})(plan)


def _by_strategy(
    kind: str, strategy: str, v: Vocabulary, share: float, own: Own
) -> ComponentChoice:
    """Return a choice in the dense run by importance, at random, by position, or by type."""
    if "types" in own:
        own = {**own, "types": _order(kind, own["types"])}
    return _choice(v, kind, share, own, strategy=strategy)


def _by_gates(kind: str, v: Vocabulary, share: float, own: Own) -> ComponentChoice:
    """Return a choice by learned gates, with one training under gates per row (Voita 2019)."""
    _refuse(v, kind, {})
    return ComponentChoice(v.learn(kind, share, own["learning"]), kind, share, measure="gates")


def _by_search(
    kind: str, way: str, subnetwork: str, v: Vocabulary, share: float, own: Own
) -> ComponentChoice:
    """Return a choice by a search, or by a control of the same size (Prasanna 2020)."""
    ranked = {**own, "measure": "gradient"}
    metric = v.metric if way == "phases" else ""
    return _choice(v, kind, share, ranked, strategy=subnetwork, way=way, metric=metric)


def _by_magnitude(subnetwork: str, v: Vocabulary, share: float, own: Own) -> ComponentChoice:
    """Return the weights that m-pruning prunes, or a control of the same size (Prasanna 2020)."""
    if v.pruning.prunable not in ("all-matrices", "no-embeddings") or v.pruning.keep_dense:
        raise LotteryError(
            "m-pruning prunes the smallest weights of all matrices but the embeddings; leave"
            " prunable and keep_dense out"
        )
    return ComponentChoice(
        v.dense, "weights", share, "magnitude", subnetwork,
        subset=v.selection_subset, metric=v.metric,
    )  # fmt: skip


def _choice(v: Vocabulary, kind: str, share: float, own: Own, **more: Any) -> ComponentChoice:
    _refuse(v, kind, own)
    return ComponentChoice(v.dense, kind, share, subset=v.selection_subset, **own, **more)


def _order(kind: str, types: Any) -> str:
    """Return types as the command takes them; all types, so that a row is a share of the kind."""
    if types == ():
        return ""
    if not isinstance(types, tuple) or sorted(map(str, types)) != sorted(TYPES[kind]):
        value = list(types) if isinstance(types, tuple) else types
        raise LotteryError(
            f"types is {value!r}; list all of [{', '.join(TYPES[kind])}], in the order in which"
            f" their {kind} are pruned"
        )
    return ",".join(types)


def _refuse(v: Vocabulary, kind: str, own: Own) -> None:
    """Refuse settings that the ``heads`` commands would reject."""
    spared = "ffn" if kind == "heads" else "attention"
    if v.pruning.prunable == spared:
        raise LotteryError(f"prunable: {spared} leaves the {kind} dense; write all-matrices")
    # learned gates have a technique of their own, which trains them; a user's code has no
    # fingerprint
    known = [name for name in MEASURE.names if name != "gates"]
    measure = own.get("measure", Importance.measure)
    if measure not in known:
        raise LotteryError(f"measure {measure!r} is unknown; choose one of {', '.join(known)}")
    if measure == "confidence" and kind != "heads":
        raise LotteryError(f"confidence scores heads only; choose another measure for {kind}")
    PER.refuse_unknown(own.get("per", Gradients.per))
    normalise, least = own.get("normalise", False), own.get("at_least", 0)
    if type(normalise) is not bool:
        raise LotteryError(f"normalise is {normalise!r}, expected true or false")
    if type(least) is not int or least < 0:
        raise LotteryError(f"at_least is {least!r}, expected an integer from 0")


for _kind in KINDS:
    for _name in SHARED:
        _own = {"measure": Importance.measure, **_GRADIENTS} if _name in RANKING else {}
        _own = {"types": ()} if _name == "types" else _own
        _choose: Choose = partial(_by_strategy, _kind, _name)
        _register(f"{_kind}-{_name}", f"{_kind} {_name}", _kind, _choose, {**_LEAST, **_own})
    for _name in ("good", "bad"):  # the strategy random has the same size
        _title = f"{_name} {_kind}, found in steps"
        _choose = partial(_by_search, _kind, "steps", _name)
        _register(f"{_kind}-{_name}", _title, _kind, _choose, {**_LEAST, **_GRADIENTS})
    _title = f"{_kind} by learned gates"
    _register(f"{_kind}-gates", _title, _kind, partial(_by_gates, _kind), {"learning": None})
for _name in SUBNETWORKS:
    _choose = partial(_by_search, "heads", "phases", _name)
    _register(f"s-{_name}", f"s-pruning, {_name}", "metric", _choose, {**_LEAST, **_GRADIENTS})
    _choose = partial(_by_magnitude, _name)
    _register(f"m-{_name}", f"m-pruning, {_name}", "metric", _choose, {}, _THEN)
