"""The record of a ticket in short: every number says how it was made."""

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
            one.key(): _NUMBER if one.kind is float else one_of(one.kind)
            for one in options(Ranking, Prunable, Reset, Seed)
        },
        **dict.fromkeys(("update", "values_update", "pruned", "denominator"), count),
        **dict.fromkeys(("score_source", "signature", "task", "pruner"), _TEXT),
        **dict.fromkeys(("asked", "sparsity"), _NUMBER),
        **dict.fromkeys(("moment_numbers", "sources", "architecture", "versions"), _MAPPING),
        **dict.fromkeys(("parts", "dictionaries"), _MAPPING),
        **dict.fromkeys(("masters", "closes"), _FLAG),
    }
)
#: of them, what training reads of a ticket
_NEEDED = ("signature", "masters", "moment_numbers", "sparsity", "pruned", "denominator")


def refuse_malformed(record: Mapping[str, Any], path: Union[str, Path]) -> None:
    """Refuse the record of a ticket or snapshot whose entries are not what they should be.

    Raises:
        LotteryError: an entry of another type, a text that cannot be shown, a negative update,
            or an update counter that rewinds to no update.
    """
    try:
        _RECORD(record, "", 0)
        for name, value in record.items():
            if isinstance(value, str) and not value.isprintable():  # a terminal would act on it
                refuse(value, name)
    except LotteryError as error:
        raise LotteryError(f"{path} is malformed ({error})") from None
    if record.get("clock") == "rewind" and record.get("update") is None:
        raise LotteryError(f"{path} is malformed (its update counter rewinds to no update)")


def refuse_untrue(record: Mapping[str, Any], mask: Mask, path: Union[str, Path]) -> None:
    """Refuse the record of a ticket without what training reads, or not of its mask.

    Raises:
        LotteryError: something is missing, the optimizer's numbers are none, or another
            sparsity than the mask's.
    """
    for name in _NEEDED:
        if record.get(name) is None:
            raise LotteryError(f"{path} is malformed (its record has no {name})")
    for name, number in record["moment_numbers"].items():
        if isinstance(number, Mapping) and set(number) == {"tensor"}:
            number = number["tensor"]
        if not isinstance(number, (int, float, type(None))):
            raise LotteryError(f"{path} is malformed (its optimizer's {name} is {_short(number)})")
    said = record["pruned"], record["denominator"]
    if said != (mask.pruned, mask.prunable):
        raise LotteryError(
            f"{path} is malformed (its record says that {said[0]} of {said[1]} weights are pruned,"
            f" its mask prunes {mask.pruned} of {mask.prunable})"
        )
    # rounded to whole weights matrix by matrix
    gone = _component_weights(record, path)
    for name, apart, matrices in (("sparsity", 0, 1), ("asked", gone, len(mask) + 1)):
        value, counts = record.get(name), (mask.pruned - apart, mask.prunable - apart)
        if value is not None and not rounds_to(*counts, value, matrices):
            raise LotteryError(
                f"{path} is malformed (its {name} is {value:g}, and its mask's sparsity is"
                f" {mask.sparsity:g})"
            )


def _component_weights(record: Mapping[str, Any], path: Union[str, Path]) -> int:
    """Weights of pruned components, which the sparsity that was asked for is no share of.

    Tickets of versions where it was do not say the number.
    """
    gone = (record.get("parts") or {}).get("weights", 0)
    if type(gone) is not int or not 0 <= gone <= record["pruned"]:
        raise LotteryError(f"{path} is malformed (its parts have {_short(gone)} weights)")
    return gone


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def signature(record: Mapping[str, Any]) -> str:
    """The short string that stands beside a number made with this ticket.

    ``reset`` says from which update the survivors' values (or signs) are, ``clock`` at which
    update the schedule starts where that is not 0.
    """
    reset = record["reset"] + (f"-{record['alpha']}" if record["alpha"] else "")
    more = {one.key(): one for one in options(Ranking) if one.name not in ("score", "scope")}
    scope = record["scope"] + "".join(
        f"-{key}{record[key]:g}" if one.kind is float else f"-{key}{record[key]}"
        for key, one in more.items()
        if record.get(key, one.default) != one.default
    )
    counter = record["clock"] + (f"@{record['update']}" if record["clock"] == "rewind" else "")
    closed = record["parts"]["closed"] if record.get("parts") else {}
    parts = (
        ("score", record["score"]),
        *((f"closed-{kind}", f"{few}/{all_}") for kind, (few, all_) in closed.items() if few),
        ("scope", scope),
        ("sparsity", f"{record['sparsity']:.4f}"),
        ("of", f"{record['denominator']}:{record['prunable']}"),
        ("reset", f"{reset}@{record['values_update']}"),
        ("clock", counter),
        ("moments", record["moments"]),
        ("seed", record["seed"]),
        ("version", record["versions"]["fairseq_lottery"]),
    )
    return "|".join(f"{key}:{value}" for key, value in parts)
