"""The techniques of a configuration: each with its rows, seeds and what differs of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fairseq_lottery.heads.workflow.techniques import KINDS, OWN_NAMES
from fairseq_lottery.options.axes import UPDATE_COUNTER
from fairseq_lottery.records.schema import Rule, at_least, one_of
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.configuration import Request
from fairseq_lottery.workflow.reading.yaml_lines import Key
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES, Technique
from fairseq_lottery.workflow.trainings.vocabulary import THEN

#: the rows of Brix et al. 2020, tables 1 and 2
ROWS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
#: settings of a technique that stand for all of them where they are keys of the file
SETTINGS = ("sparsities", "rounds", "seeds", "rewind", "rewind_source", "update_counter")

Share = Annotated[
    float,
    Rule("a share between 0 and 1; 0.9 prunes 90 % of the weights", lambda x: 0 < x < 1, float),
]
Seed = Annotated[int, at_least(0)]
Source = Annotated[str, one_of(("latest", "dense"))]
Counter = Annotated[str, one_of(list(UPDATE_COUNTER.names))]
Then = Annotated[str, one_of(THEN)]

#: name of a setting -> where it is written, and its value
Given = dict[str, tuple[Key, Any]]


def read_requests(
    values: Values, techniques: Sequence[Any], whole: Mapping[str, Any]
) -> tuple[Request, ...]:
    """Check ``techniques``.

    Args:
        whole: settings that stand for all techniques.
    """
    if not techniques:
        raise values.error(("techniques",), "techniques is empty")
    for_all: Given = {name: ((name,), value) for name, value in whole.items()}
    found: list[Request] = []
    for number, item in enumerate(techniques):
        key: Key = ("techniques", number)
        name, changes = item, None
        if isinstance(item, dict) and len(item) == 1:
            name, changes = next(iter(item.items()))
            key = (*key, name)
        elif not isinstance(item, str):
            raise values.error(key, "a technique is a name, or name: {settings}")
        found += _variants(values, key, name, changes or {}, for_all)
    names = [request.name for request in found]
    for request in found:
        if names.count(request.name) > 1:
            raise values.error(request.key, f"{request.name} is asked for twice")
    titles = [request.title for request in found]
    return tuple(
        replace(one, title=f"{one.title} ({one.name})") if titles.count(one.title) > 1 else one
        for one in found
    )


def _variants(
    values: Values, key: Key, name: str, changes: Any, for_all: Given
) -> Iterator[Request]:
    """One technique; several where its ``rewind`` or its ``then`` is a list."""
    if name not in TECHNIQUES:
        by_kind = {f"{kind}-{own}" for kind in KINDS for own in OWN_NAMES}
        others = ", ".join(one for one in TECHNIQUES if one not in by_kind)
        raise values.error(
            key,
            f"there is no technique {name!r}; choose one of {others}; or {'-, '.join(KINDS)}- and"
            f" one of {', '.join(OWN_NAMES)}",
        )
    technique = TECHNIQUES[name]
    changes = values.parsed(key, changes, dict)
    known = {*SETTINGS, "title", "name", *technique.options}
    for setting in changes:
        if setting not in known:
            raise values.error(
                (*key, setting),
                f"{name} has no setting {setting!r}; choose one of {', '.join(sorted(known))}",
            )
    given = {**for_all, **{n: ((*key, n), value) for n, value in changes.items()}}
    rewind_key, rewinds = given.get("rewind", (("rewind",), "5%"))
    grid = _each(values, rewind_key, rewinds)
    _, title = given.get("title", (key, technique.title))
    own = _name(values, *given["name"]) if "name" in given else name
    followed = "then" in technique.options
    then_key, thens = given.get("then", (key, technique.options.get("then", "")))
    for value in grid:
        several = f"{own}-t{value}".replace("%", "pc") if len(grid) > 1 else own
        named = f"{title}, t = {value}" if len(grid) > 1 else str(title)
        settings = {**given, "rewind": (rewind_key, value)}
        for then in _each(values, then_key, thens):
            if not followed:
                yield _request(values, key, technique, several, named, settings)
                continue
            values.parsed(then_key, then, Then)
            yield _request(
                values,
                key,
                technique,
                f"{several}-{then}",
                f"{named}{_besides(given)}, {then}",
                {**settings, "then": (then_key, then)},
            )


def _each(values: Values, key: Key, value: Any) -> list[Any]:
    if value == []:
        raise values.error(key, f"{key[-1]} is empty")
    return value if isinstance(value, list) else [value]


def _besides(given: Given) -> str:
    """What a title tells of the settings that change what is closed or pruned."""
    told = ""
    if "title" in given:  # the user's own says what it wants
        return told
    _, types = given.get("types", ((), None))
    if isinstance(types, list) and types:
        told += f" in the order {', '.join(map(str, types))}"
    _, sparsity = given.get("sparsity", ((), None))
    if isinstance(sparsity, (int, float)):
        told += f", {100 * sparsity:g} % of the rest pruned"
    return told


def _name(values: Values, key: Key, name: Any) -> str:
    """A name of the cells' own, where a technique is asked for twice with other settings."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,60}", name):
        raise values.error(
            key, f"{name!r} is no name; write small letters, digits, dots and hyphens"
        )
    return name


def _request(
    values: Values, key: Key, technique: Technique, name: str, title: str, given: Given
) -> Request:
    rows = [values.pattern.sparsity] if values.pattern else list(ROWS)
    rows_key, asked = given.get("sparsities", (key, rows))
    sparsities = values.numbers(rows_key, asked, Share)
    between = [row for row in rows if row < sparsities[-1]]
    rounds_key, steps = given.get("rounds", (key, sorted({*between, *sparsities})))
    rounds = values.numbers(rounds_key, steps, Share)
    missing = [row for row in sparsities if row not in rounds]
    if "rounds" in given and missing:
        raise values.error(rounds_key, f"rounds leave out the sparsity {missing[0]:g} of the table")
    seeds_key, seeds = given.get("seeds", (key, [1]))
    counter_key, counter = given.get("update_counter", (key, None))
    source_key, source = given.get("rewind_source", (("rewind_source",), "latest"))
    return Request(
        technique=technique,
        name=name,
        title=title,
        sparsities=sparsities,
        rounds=rounds,
        seeds=values.numbers(seeds_key, seeds, Seed),
        rewind=values.update(*given["rewind"]),
        rewind_source=values.parsed(source_key, source, Source),
        update_counter=None if counter is None else values.parsed(counter_key, counter, Counter),
        options={
            n: _option(values, given[n][0], technique, n, given[n][1])
            for n in technique.options
            if n in given
        },
        key=key,
    )


def _option(values: Values, key: Key, technique: Technique, name: str, value: Any) -> Any:
    """A setting of a technique's own; ``switch`` is a sparsity, or several in their order."""
    if name in ("updates", "learning"):
        updates = values.update(key, value)
        if not updates:
            raise values.error(key, f"{name} {value!r} leaves nothing to train")
        return updates
    if name == "sparsity":
        return values.parsed(key, value, Share)
    if name == "switch":
        found = values.numbers(key, value, Share)
        several = isinstance(technique.options[name], tuple)
        if not several and len(found) > 1:
            raise values.error(key, f"{technique.name} switches once, not {len(found)} times")
        return found if several else found[0]
    return tuple(value) if isinstance(value, list) else value
