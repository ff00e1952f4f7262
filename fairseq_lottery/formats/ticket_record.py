"""The record of a ticket: its validation, and its signature."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.entry_checks import count, entries, one_of, refuse
from fairseq_lottery.masks import Mask, rounds_to
from fairseq_lottery.options import Prunable, Ranking, Reset, Seed, options

_NUMBER, _TEXT, _FLAG, _MAPPING = one_of(int, float), one_of(str), one_of(bool), one_of(dict)
#: the record of a ticket or snapshot
_RECORD = entries(
    {
        **{
            option.key(): _NUMBER if option.kind is float else one_of(option.kind)
            for option in options(Ranking, Prunable, Reset, Seed)
        },
        **dict.fromkeys(
            ("update", "values_update", "pruned", "denominator", "score_rounds"), count
        ),
        **dict.fromkeys(("score_source", "signature", "task", "pruner"), _TEXT),
        **dict.fromkeys(("asked", "sparsity"), _NUMBER),
        **dict.fromkeys(("moment_numbers", "sources", "architecture", "versions"), _MAPPING),
        **dict.fromkeys(("parts", "dictionaries"), _MAPPING),
        **dict.fromkeys(("masters", "closes", "shuffle_mask"), _FLAG),
    }
)
#: entries that training reads
_NEEDED = ("signature", "masters", "moment_numbers", "sparsity", "pruned", "denominator")


def refuse_malformed(record: Mapping[str, Any], path: Union[str, Path]) -> None:
    """Refuse the record of a ticket or snapshot with malformed entries.

    Raises:
        LotteryError: an entry has another type, a string is not printable, an update is negative,
            or the update counter rewinds but the record has no update.
    """
    try:
        _RECORD(record, "", 0)
        for name, value in record.items():
            if isinstance(value, str) and not value.isprintable():  # a terminal would interpret it
                refuse(value, name)
    except LotteryError as error:
        raise LotteryError(f"{path} is malformed ({error})") from None
    if record.get("clock") == "rewind" and record.get("update") is None:
        raise LotteryError(f"{path} is malformed (its update counter rewinds but it has no update)")


def refuse_other_mask(record: Mapping[str, Any], mask: Mask, path: Union[str, Path]) -> None:
    """Refuse the record of a ticket that is incomplete or does not match its mask.

    Raises:
        LotteryError: an entry is missing, a number of the optimizer is not a number, or the
            sparsity is not that of the mask.
    """
    for name in _NEEDED:
        if record.get(name) is None:
            raise LotteryError(f"{path} is malformed (its record has no {name})")
    for name, number in record["moment_numbers"].items():
        if isinstance(number, Mapping) and set(number) == {"tensor"}:
            number = number["tensor"]
        if not isinstance(number, (int, float, type(None))):
            raise LotteryError(f"{path} is malformed (its optimizer's {name} is {_short(number)})")
    pruned, prunable = record["pruned"], record["denominator"]
    if (pruned, prunable) != (mask.pruned, mask.prunable):
        raise LotteryError(
            f"{path} is malformed (its record has {pruned} of {prunable} weights pruned, expected"
            f" {mask.pruned} of {mask.prunable} as in its mask)"
        )
    # each matrix is rounded to a number of weights
    components = _component_weights(record, path)
    for name, excluded, matrices in (("sparsity", 0, 1), ("asked", components, len(mask) + 1)):
        value, counts = record.get(name), (mask.pruned - excluded, mask.prunable - excluded)
        if value is not None and not rounds_to(*counts, value, matrices):
            raise LotteryError(
                f"{path} is malformed (its {name} is {value:g}, expected {mask.sparsity:g} as in"
                " its mask)"
            )


def _component_weights(record: Mapping[str, Any], path: Union[str, Path]) -> int:
    """Return the number of weights in pruned components, which the requested sparsity excludes.

    Tickets of versions that included them do not store the number.
    """
    weights = (record.get("parts") or {}).get("weights", 0)
    if type(weights) is not int or not 0 <= weights <= record["pruned"]:
        raise LotteryError(f"{path} is malformed (its parts have {_short(weights)} weights)")
    return weights


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def signature(record: Mapping[str, Any]) -> str:
    """Return the string that identifies a ticket beside results obtained with it.

    ``reset`` names the update of the survivors' values (or signs), ``clock`` the update at which
    the update counter starts if it rewinds.
    """
    reset = record["reset"] + (f"-{record['alpha']}" if record["alpha"] else "")
    if record.get("noise_scale") is not None:
        reset += f"-{record['noise_scale']:g}"
    more = {o.key(): o for o in options(Ranking) if o.name not in ("score", "scope")}
    scope = record["scope"] + "".join(
        f"-{key}{record[key]:g}" if option.kind is float else f"-{key}{record[key]}"
        for key, option in more.items()
        if record.get(key, option.default) != option.default
    )
    counter = record["clock"] + (f"@{record['update']}" if record["clock"] == "rewind" else "")
    pruned = record["parts"]["closed"] if record.get("parts") else {}
    rounds = record.get("score_rounds")
    parts = (
        ("score", record["score"]),
        *((("rounds", rounds),) if rounds is not None else ()),
        *((f"closed-{kind}", f"{n}/{total}") for kind, (n, total) in pruned.items() if n),
        ("scope", scope),
        *((("mask", "shuffled"),) if record.get("shuffle_mask") else ()),
        ("sparsity", f"{record['sparsity']:.4f}"),
        ("of", f"{record['denominator']}:{record['prunable']}"),
        ("reset", f"{reset}@{record['values_update']}"),
        ("clock", counter),
        ("moments", record["moments"]),
        ("seed", record["seed"]),
        ("version", record["versions"]["fairseq_lottery"]),
    )
    return "|".join(f"{key}:{value}" for key, value in parts)
