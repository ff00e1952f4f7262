"""``Option``: definition of an option, and the flags, keys and values derived from it.

An option is a field of a frozen dataclass, which is its group. The metadata of the field has the
attributes of the option.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, Optional, get_args

from fairseq_lottery.options.axes import Axis

#: places that accept options: ``fairseq-lottery ticket``, fairseq's commands, configurations, and
#: ``fairseq-lottery heads``
DRAW, TRAINING, WORKFLOW, HEADS = "draw", "training", "workflow", "heads"
EVERYWHERE = (DRAW, TRAINING, WORKFLOW)


@dataclass(frozen=True)
class Option:
    """Definition of an option.

    Attributes:
        name: name of its field, and in every place that ``names`` does not contain.
        kind: type of its value: ``str``, ``int``, ``float`` or ``bool``.
        default: default value; ``MISSING`` if it is required.
        help: one line without percent signs.
        axis: axis with the names that it accepts; None if it accepts other values.
        metavar: placeholder of its value in help, unless it has an axis or is a file.
        is_file: whether its value is the path of a file.
        is_regex: whether its value is a regular expression.
        stored: its key in files and fingerprints, if it differs from the name.
        places: places that accept it.
        names: place -> its name there, if it differs.
        defaults: place -> its default there, if it differs.
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
        """Return its name in a place, or the name of its field."""
        return self.names.get(place or "", self.name)

    def flag_in(self, place: Optional[str]) -> str:
        """Return its flag on the command line of a place."""
        return "--" + self.name_in(place).replace("_", "-")

    def default_in(self, place: str) -> Any:
        """Return its default in a place; ``MISSING`` if it is required."""
        return self.defaults.get(place, self.default)

    def key(self, place: Optional[str] = None) -> str:
        """Return its key in files of a place."""
        return self.stored or self.name_in(place)

    def stored_value(self, value: Any) -> Any:
        """Return ``value`` as it is stored in files."""
        return self.axis.stored_name(value) if self.axis else value

    @property
    def text(self) -> str:
        """Return its help with the names of its axis."""
        return f"{self.help}. {self.axis.lines}" if self.axis else self.help

    @property
    def placeholder(self) -> Optional[str]:
        """Return the placeholder of its value in help."""
        return self.metavar or ("NAME" if self.axis else "FILE" if self.is_file else None)


def option(help: str, default: Any = MISSING, **more: Any) -> Any:
    """Define an option: a field of a group with the attributes of ``Option``."""
    return field(default=default, metadata={"option": {"help": help, **more}})


@cache
def options(*groups: type, place: Optional[str] = None) -> tuple[Option, ...]:
    """Return the options of groups in order.

    Args:
        place: if given, only options that it accepts.
    """
    members = []
    for member in (member for group in groups for member in fields(group)):
        if "option" in member.metadata:
            kinds = get_args(member.type)  # empty unless the type is Optional
            kind: Any = kinds[0] if kinds else member.type
            attributes = member.metadata["option"]
            members.append(Option(member.name, kind, member.default, **attributes))
    return tuple(member for member in members if place is None or place in member.places)


def add_flags(parser: argparse.ArgumentParser, *groups: type, place: str) -> None:
    """Add the options of some groups to the command line of a place."""
    for member in options(*groups, place=place):
        default = member.default_in(place)
        shown = "" if default in (MISSING, None, False) else f" (default: {default})"
        more: dict[str, Any] = {"action": "store_true"}
        if member.kind is not bool:
            required = default is MISSING
            more = {"type": member.kind, "metavar": member.placeholder, "required": required}
            more["default"] = None if required else default
        parser.add_argument(member.flag_in(place), help=member.text + shown, **more)


def values(holder: Any, *groups: type, place: Optional[str] = None) -> dict[str, Any]:
    """Return field name -> value of the options of groups.

    Args:
        holder: object with the values as attributes, under their names in ``place``.
    """
    return {o.name: getattr(holder, o.name_in(place)) for o in options(*groups)}


def stored_values(holder: Any, *groups: type, place: Optional[str] = None) -> dict[str, Any]:
    """Return stored key -> stored value of the options of groups; ``holder`` as in ``values``."""
    return {
        o.key(place): o.stored_value(getattr(holder, o.name_in(place))) for o in options(*groups)
    }


def words(holder: Any, *groups: type, place: str) -> list[str]:
    """Return the arguments of a place's command line for the values of ``holder``'s fields.

    Values that are None or empty are skipped.
    """
    line: list[str] = []
    for member in options(*groups, place=place):
        value, flag = getattr(holder, member.name), member.flag_in(place)
        if member.kind is bool:
            line += [flag] if value else []
        elif value not in (None, ""):
            line += [flag, f"{value:.10g}" if member.kind is float else str(value)]
    return line


def changed(holder: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of a dataclass that differ from their defaults: its fingerprint.

    The defaults are those of configurations. So a new option with a default does not change
    existing fingerprints.

    Args:
        without: names of fields to skip.
    """
    group: Any = type(holder)
    by_name = {member.name: member for member in options(group)}
    fingerprint = {}
    for member in fields(holder):
        option, value = by_name.get(member.name), getattr(holder, member.name)
        default = option.default_in(WORKFLOW) if option else member.default
        if member.name in without or value == default:
            continue
        if option:
            fingerprint[option.key()] = option.stored_value(value)
        else:
            fingerprint[member.name] = value
    return fingerprint
