"""``Option``: all that is known of one option, and what follows from it.

An option is a field of a frozen dataclass, its group. The field's metadata says the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Optional, get_args

from fairseq_lottery.options.axes import Axis

#: where an option may be given: ``fairseq-lottery ticket``, fairseq's commands, a configuration,
#: ``fairseq-lottery heads``
DRAW, TRAINING, WORKFLOW, HEADS = "draw", "training", "workflow", "heads"
EVERYWHERE = (DRAW, TRAINING, WORKFLOW)


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: of its field, and everywhere unless ``names`` says another.
        kind: of its value: ``str``, ``int``, ``float`` or ``bool``.
        default: ``MISSING`` where the field has to be given.
        help: one line, without percent signs.
        axis: the names that it may be.
        metavar: what stands for its value in help; that of an axis or a file follows from it.
        is_file: its value is the path of a file.
        is_regex: its value is a regular expression.
        stored: its key in files and fingerprints that were written under another name.
        places: where it may be given.
        names: place -> its name there.
        defaults: place -> its default there.
    """

    name: str
    kind: type
    default: Any
    help: str
    axis: Optional[Axis] = None
    metavar: Optional[str] = None
    is_file: bool = False
    is_regex: bool = False
    stored: Optional[str] = None
    places: Sequence[str] = EVERYWHERE
    names: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def name_in(self, place: Optional[str]) -> str:
        """Return its name in a place, or that of its field."""
        return self.names.get(place or "", self.name)

    def flag_in(self, place: Optional[str]) -> str:
        """Return its flag on the command line of a place."""
        return "--" + self.name_in(place).replace("_", "-")

    def default_in(self, place: str) -> Any:
        """Return its default in a place; ``MISSING`` where it has to be given."""
        return self.defaults.get(place, self.default)

    def key(self, place: Optional[str] = None) -> str:
        """Return its key in a file that is written in a place."""
        return self.stored or self.name_in(place)

    def stored_value(self, value: Any) -> Any:
        """Return what a file says for ``value``."""
        return self.axis.stored_name(value) if self.axis else value

    @property
    def text(self) -> str:
        """Its help, with the names that it may be."""
        return f"{self.help}. {self.axis.lines}" if self.axis else self.help

    @property
    def placeholder(self) -> Optional[str]:
        """What stands for its value in help."""
        return self.metavar or ("NAME" if self.axis else "FILE" if self.is_file else None)


def option(help: str, default: Any = MISSING, **more: Any) -> Any:
    """Define an option: a field of a group with the attributes of ``Option``."""
    return field(default=default, metadata={"option": {"help": help, **more}})


@cache
def options(*groups: type, place: Optional[str] = None) -> tuple[Option, ...]:
    """Return the options of some groups, in their order.

    Args:
        place: leave out those that cannot be given here.
    """
    found = []
    for one in (one for group in groups for one in fields(group) if "option" in one.metadata):
        kinds = get_args(one.type)  # of Optional
        kind: Any = kinds[0] if kinds else one.type
        found.append(Option(one.name, kind, one.default, **one.metadata["option"]))
    return tuple(one for one in found if place is None or place in one.places)


def add_flags(parser: argparse.ArgumentParser, *groups: type, place: str) -> None:
    """Add the options of some groups to the command line of a place."""
    for one in options(*groups, place=place):
        default = one.default_in(place)
        shown = "" if default in (MISSING, None, False) else f" (default: {default})"
        more: dict[str, Any] = {"action": "store_true"}
        if one.kind is not bool:
            required = default is MISSING
            more = {"type": one.kind, "metavar": one.placeholder, "required": required}
            more["default"] = None if required else default
        parser.add_argument(one.flag_in(place), help=one.text + shown, **more)


def values(holder: Any, *groups: type, place: Optional[str] = None) -> dict[str, Any]:
    """Return name of the field -> value of the options of some groups.

    Args:
        holder: has them as attributes, under their names in ``place``.
    """
    return {one.name: getattr(holder, one.name_in(place)) for one in options(*groups)}


def stored_values(holder: Any, *groups: type, place: Optional[str] = None) -> dict[str, Any]:
    """Return key in files -> value of the options of some groups, as ``values`` does."""
    return {
        one.key(place): one.stored_value(getattr(holder, one.name_in(place)))
        for one in options(*groups)
    }


def words(holder: Any, *groups: type, place: str) -> list[str]:
    """Return the command line of a place that says the values of ``holder``'s fields.

    What is None or empty is left out: it says nothing.
    """
    line: list[str] = []
    for one in options(*groups, place=place):
        value = getattr(holder, one.name)
        if one.kind is bool:
            line += [one.flag_in(place)] if value else []
        elif value not in (None, ""):
            line += [one.flag_in(place), f"{value:.10g}" if one.kind is float else str(value)]
    return line


def changed(holder: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return what of a dataclass, of whatever groups, is not its default: its fingerprint.

    The default is that of a configuration. A new option with one leaves the fingerprints of what
    was described before alone.

    Args:
        without: names of fields that are left out.
    """
    group: Any = type(holder)
    known = {one.name: one for one in options(group)}
    found = {}
    for one in fields(holder):
        option, value = known.get(one.name), getattr(holder, one.name)
        default = option.default_in(WORKFLOW) if option else one.default
        if one.name in without or value == default:
            continue
        if option:
            found[option.key()] = option.stored_value(value)
        else:
            found[one.name] = value
    return found
