"""The techniques of a configuration: each with its rows, seeds and what differs of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fairseq_lottery.heads.workflow.techniques import KINDS, OWN_NAMES
from fairseq_lottery.options.axes import CLOCK
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.configuration import Request
from fairseq_lottery.workflow.reading.yaml_lines import Key
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES, Technique
from fairseq_lottery.workflow.trainings.vocabulary import THEN

#: the rows of Brix et al. 2020, tables 1 and 2
ROWS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
#: settings of a technique that stand for all of them where they are keys of the file
SETTINGS = ("sparsities", "rounds", "seeds", "rewind", "rewind_source", "clock")


def read_requests(values: Values) -> tuple[Request, ...]:
    """Take ``techniques``, and the settings that stand for all of them."""
    whole: dict[str, Any] = {}
    for name in SETTINGS:
        if name in values.left:
            whole[name] = ((name,), values.left.pop(name))
    asked = values.take("techniques", list, required=True)
    if not asked:
        raise values.lines.error(("techniques",), "techniques is empty")
    found: list[Request] = []
    for number, item in enumerate(asked):
        key: Key = ("techniques", number)
        if isinstance(item, dict) and len(item) == 1:
            name, changes = next(iter(item.items()))
            found += _variants(values, (*key, name), name, changes or {}, whole)
        elif isinstance(item, str):
            found += _variants(values, key, item, {}, whole)
        else:
            raise values.lines.error(key, "a technique is a name, or name: {settings}")
    names = [request.name for request in found]
    for request in found:
        if names.count(request.name) > 1:
            raise values.lines.error(request.key, f"{request.name} is asked for twice")
    titles = [request.title for request in found]
    return tuple(
        replace(one, title=f"{one.title} ({one.name})") if titles.count(one.title) > 1 else one
        for one in found
    )


def _variants(
    values: Values, key: Key, name: Any, changes: Any, whole: dict[str, Any]
) -> Iterator[Request]:
    """One technique; several where its ``rewind`` or its ``then`` is a list."""
    if name not in TECHNIQUES:
        by_kind = {f"{kind}-{own}" for kind in KINDS for own in OWN_NAMES}
        others = ", ".join(one for one in TECHNIQUES if one not in by_kind)
        raise values.lines.error(
            key,
            f"there is no technique {name!r}; choose one of {others}; or {'-, '.join(KINDS)}- and"
            f" one of {', '.join(OWN_NAMES)}",
        )
    technique = TECHNIQUES[name]
    changes = values.typed(key, changes, dict)
    known = {*SETTINGS, "title", "name"}
    for setting in changes:
        if setting not in known and setting not in technique.options:
            raise values.lines.error(
                (*key, setting),
                f"{name} has no setting {setting!r}; choose one of"
                f" {', '.join(sorted(known | set(technique.options)))}",
            )
    given = {n: ((*key, n), value) for n, value in changes.items()}
    settings = {**whole, **given}
    rewinds = settings.pop("rewind", (("rewind",), "5%"))
    grid = rewinds[1] if isinstance(rewinds[1], list) else [rewinds[1]]
    if not grid:
        raise values.lines.error(rewinds[0], "rewind is empty")
    title = str(given.pop("title", (key, technique.title))[1])
    own = _name(values, *given["name"]) if "name" in given else name
    for value in grid:
        several = f"{own}-t{value}".replace("%", "pc") if len(grid) > 1 else own
        named = f"{title}, t = {value}" if len(grid) > 1 else title
        one = {**settings, "rewind": (rewinds[0], value)}
        for then, at in _thens(values, technique, settings):
            more = {"then": (at, then)} if then else {}
            suffix, words = (f"-{then}", f"{_besides(settings)}, {then}") if then else ("", "")
            yield _request(values, key, technique, several + suffix, named + words, {**one, **more})


def _besides(settings: dict[str, Any]) -> str:
    """What a title tells of the settings that change what is closed or pruned."""
    said = ""
    if "title" in settings:  # the user's own says what it wants
        return said
    if "types" in settings and isinstance(settings["types"][1], list) and settings["types"][1]:
        said += f" in the order {', '.join(map(str, settings['types'][1]))}"
    if "sparsity" in settings and isinstance(settings["sparsity"][1], (int, float)):
        said += f", {100 * settings['sparsity'][1]:g} % of the rest pruned"
    return said


def _name(values: Values, key: Key, name: Any) -> str:
    """A name of the cells' own, where a technique is asked for twice with other settings."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,60}", name):
        raise values.lines.error(
            key, f"{name!r} is no name; write small letters, digits, dots and hyphens"
        )
    return name


def _thens(
    values: Values, technique: Technique, settings: dict[str, Any]
) -> Iterator[tuple[str, Key]]:
    """What comes after closing parts, once each; the empty text where nothing is closed."""
    if "then" not in technique.options:
        yield "", ()
        return
    at, given = settings.get("then", ((), technique.options["then"]))
    asked = given if isinstance(given, list) else [given]
    if not asked:
        raise values.lines.error(at, "then is empty")
    for then in asked:
        yield values.choice(at, then, THEN), at


def _request(
    values: Values, key: Key, technique: Technique, name: str, title: str, settings: dict[str, Any]
) -> Request:
    at = {n: settings[n][0] for n in settings}
    given = {n: settings[n][1] for n in settings}
    rows = [values.pattern.sparsity] if values.pattern else list(ROWS)
    sparsities = values.numbers(
        at.get("sparsities", key), given.get("sparsities", rows), values.sparsity
    )
    between = [row for row in rows if row < sparsities[-1]]
    rounds = values.numbers(
        at.get("rounds", key),
        given.get("rounds", sorted({*between, *sparsities})),
        values.sparsity,
    )
    missing = [row for row in sparsities if row not in rounds]
    if "rounds" in given and missing:
        raise values.lines.error(
            at["rounds"], f"rounds leave out the sparsity {missing[0]:g} of the table"
        )
    seeds = values.numbers(at.get("seeds", key), given.get("seeds", [1]), values.seed)
    clock = given.get("clock")
    if clock is not None:
        values.named(CLOCK, at["clock"], clock)
    options = {n: _option(values, at[n], technique, n, given[n])
               for n in technique.options if n in given}  # fmt: skip
    return Request(
        technique=technique,
        name=name,
        title=title,
        sparsities=sparsities,
        rounds=rounds,
        seeds=seeds,
        rewind=values.update(at["rewind"], given["rewind"]),
        rewind_source=values.choice(
            at.get("rewind_source", ("rewind_source",)),
            given.get("rewind_source", "latest"),
            ("latest", "dense"),
        ),
        clock=clock,
        options=options,
        key=key,
    )


def _option(values: Values, key: Key, technique: Technique, name: str, value: Any) -> Any:
    """A setting of a technique's own; ``switch`` is a sparsity, or several in their order."""
    if name in ("updates", "learning"):
        updates = values.update(key, value)
        if not updates:
            raise values.lines.error(key, f"{name} {value!r} leaves nothing to train")
        return updates
    if name == "sparsity":
        return values.sparsity(key, value)
    if name == "switch":
        found = values.numbers(key, value, values.sparsity)
        several = isinstance(technique.options[name], tuple)
        if not several and len(found) > 1:
            raise values.lines.error(key, f"{technique.name} switches once, not {len(found)} times")
        return found if several else found[0]
    return tuple(value) if isinstance(value, list) else value
