"""The techniques of a configuration, each with its rows, seeds and settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Optional

from fairseq_lottery.heads.workflow.techniques import KINDS, OWN_NAMES
from fairseq_lottery.options.axes import SCOPE, UPDATE_COUNTER
from fairseq_lottery.records.schema import Positive, Rule, at_least, one_of
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.configuration import Request
from fairseq_lottery.workflow.reading.yaml_lines import Key
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES, Technique
from fairseq_lottery.workflow.trainings.vocabulary import THEN

#: the rows of Brix et al. 2020, tables 1 and 2
ROWS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
#: settings of a technique that, as top-level keys of the file, apply to all techniques
SETTINGS = (
    *("sparsities", "rounds", "seeds", "rewind", "rewind_source", "update_counter", "budget"),
)

#: settings of techniques in updates, which a file may give as shares of the training
IN_UPDATES = ("updates", "learning", "tuning", "every", "end")

Share = Annotated[
    float,
    Rule("a share between 0 and 1; 0.9 prunes 90 % of the weights", lambda x: 0 < x < 1, float),
]
DenseOrShare = Annotated[
    float, Rule("0 or a share between 0 and 1; 0 prunes nothing", lambda x: 0 <= x < 1, float)
]
Seed = Annotated[int, at_least(0)]
Source = Annotated[str, one_of(("latest", "dense"))]
Counter = Annotated[str, one_of(list(UPDATE_COUNTER.names))]
Then = Annotated[str, one_of(THEN)]

#: name of a setting -> its key in the file, and its value
Settings = dict[str, tuple[Key, Any]]


def read_requests(
    values: Values, techniques: Sequence[Any], common: Mapping[str, Any]
) -> tuple[Request, ...]:
    """Validate ``techniques``, and return them with their settings.

    Args:
        common: settings that apply to all techniques.
    """
    if not techniques:
        raise values.error(("techniques",), "techniques is empty; give at least one")
    defaults: Settings = {name: ((name,), value) for name, value in common.items()}
    requests: list[Request] = []
    for number, item in enumerate(techniques):
        key: Key = ("techniques", number)
        name, changes = item, None
        if isinstance(item, dict) and len(item) == 1:
            name, changes = next(iter(item.items()))
            key = (*key, name)
        elif not isinstance(item, str):
            raise values.error(key, "a technique must be NAME, or NAME: {settings}")
        for settings in _each(values, key, name, changes or {}):
            requests += _variants(values, key, name, settings, defaults)
    names = [request.name for request in requests]
    for request in requests:
        if names.count(request.name) > 1:
            raise values.error(request.key, f"{request.name} is listed twice; give one a name:")
    titles = [request.title for request in requests]
    return tuple(
        replace(request, title=f"{request.title} ({request.name})")
        if titles.count(request.title) > 1
        else request
        for request in requests
    )


@dataclass(frozen=True)
class _Listed:
    """A setting that a technique is planned for once for each of its listed values.

    Attributes:
        kind: type of a value.
        name: end of the technique's name, and ``title`` of its title, with the value in braces.
    """

    kind: Any
    name: str
    title: str


_LISTED = {
    "data_seed": _Listed(Seed, "-d{}", ", order {}"),
    "scale": _Listed(Positive, "-{:g}", ", k = {:g}"),
}


def _each(values: Values, key: Key, name: str, changes: Any) -> Iterator[Any]:
    """Yield the settings of a technique once for each value of a listed setting."""
    known = TECHNIQUES.get(name)
    if known is None or not isinstance(changes, dict):
        yield changes
        return
    own_name, title = changes.get("name", name), changes.get("title", known.title)
    if known.option_of_data_sets is not None:
        yield from _each_data_set(values, key, known, changes)
        return
    for setting, form in _LISTED.items():
        listed = changes.get(setting)
        if setting in known.options and isinstance(listed, list):
            for value in values.read_numbers((*key, setting), listed, form.kind):
                own = {"name": f"{own_name}{form.name}", "title": f"{title}{form.title}"}
                yield {
                    **changes,
                    setting: value,
                    **{n: text.format(value) for n, text in own.items()},
                }
            return
    yield changes


def _each_data_set(
    values: Values, key: Key, known: Technique, changes: dict[str, Any]
) -> Iterator[Any]:
    """Yield the settings of a technique once for each data set that it takes masks of."""
    setting = str(known.option_of_data_sets)
    if not values.data_names:
        raise values.error(key, f"{known.name} requires several data sets; write data as a list")
    sources = changes.get(setting, list(values.data_names))
    for source in _as_list(values, (*key, setting), sources):
        if source not in values.data_names:
            names = ", ".join(values.data_names)
            raise values.error(
                (*key, setting), f"data set {source!r} is unknown; choose one of {names}"
            )
        name, title = changes.get("name", known.name), changes.get("title", known.title)
        own = {"name": f"{name}-{source}", "title": f"{title} {source}"}
        yield {**changes, setting: source, **own}


def _variants(
    values: Values, key: Key, name: str, changes: Any, defaults: Settings
) -> Iterator[Request]:
    """Yield one request, or several if ``rewind`` or ``then`` is a list."""
    if name not in TECHNIQUES:
        by_kind = {f"{kind}-{suffix}" for kind in KINDS for suffix in OWN_NAMES}
        names = ", ".join(known for known in TECHNIQUES if known not in by_kind)
        raise values.error(
            key,
            f"technique {name!r} is unknown; choose one of {names}; or one of"
            f" {'-, '.join(KINDS)}- followed by one of {', '.join(OWN_NAMES)}",
        )
    technique = TECHNIQUES[name]
    changes = values.parse(key, changes, dict)
    known = {*SETTINGS, "title", "name", *technique.options}
    for setting in changes:
        if setting not in known:
            raise values.error(
                (*key, setting),
                f"{name} has no setting {setting!r}; choose one of {', '.join(sorted(known))}",
            )
    settings = {**defaults, **{n: ((*key, n), value) for n, value in changes.items()}}
    rewind_key, rewinds = settings.get("rewind", (("rewind",), "5%"))
    rewinds = _as_list(values, rewind_key, rewinds)
    _, title = settings.get("title", (key, technique.title))
    own_name = _name(values, *settings["name"]) if "name" in settings else name
    for rewind in rewinds:
        variant, variant_title = own_name, str(title)
        if len(rewinds) > 1:
            if isinstance(rewind, dict):
                raise values.error(
                    rewind_key, "rewind is a list with a mapping; list the technique twice instead"
                )
            variant = f"{own_name}-t{rewind}".replace("%", "pc")
            variant_title = f"{title}, t = {rewind}"
        rewound = {**settings, "rewind": (rewind_key, rewind)}
        if "then" not in technique.options:
            yield _request(values, key, technique, variant, variant_title, rewound)
            continue
        then_key, thens = settings.get("then", (key, technique.options["then"]))
        for then in _as_list(values, then_key, thens):
            values.parse(then_key, then, Then)
            yield _request(
                values,
                key,
                technique,
                f"{variant}-{then}",
                f"{variant_title}{_title_details(settings)}, {then}",
                {**rewound, "then": (then_key, then)},
            )


def _as_list(values: Values, key: Key, value: Any) -> list[Any]:
    if value == []:
        raise values.error(key, f"{key[-1]} is empty; give at least one value")
    return value if isinstance(value, list) else [value]


def _title_details(settings: Settings) -> str:
    """Return the settings that determine what is pruned, as part of a title."""
    details = ""
    if "title" in settings:
        return details
    _, types = settings.get("types", ((), None))
    if isinstance(types, list) and types:
        details += f" in the order {', '.join(map(str, types))}"
    _, sparsity = settings.get("sparsity", ((), None))
    if isinstance(sparsity, (int, float)):
        details += f", {100 * sparsity:g} % of the rest pruned"
    return details


def _name(values: Values, key: Key, name: Any) -> str:
    """Return the user's name for a technique, which its cells contain, if it is valid."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,60}", name):
        raise values.error(
            key, f"{name!r} is not a name; use lowercase letters, digits, dots and hyphens"
        )
    return name


def _request(
    values: Values, key: Key, technique: Technique, name: str, title: str, settings: Settings
) -> Request:
    rows = [values.pattern.sparsity] if values.pattern else list(ROWS)
    rows_key, requested = settings.get("sparsities", (key, rows))
    kind: Any = DenseOrShare if technique.has_dense_row else Share
    sparsities = values.read_numbers(rows_key, requested, kind)
    between = [row for row in rows if row < sparsities[-1]]
    rounds_key, steps = settings.get("rounds", (key, sorted({*between, *sparsities})))
    rounds = values.read_numbers(rounds_key, steps, kind)
    missing = [row for row in sparsities if row and row not in rounds]
    if "rounds" in settings and missing:
        raise values.error(rounds_key, f"rounds lack {missing[0]:g}, one of sparsities; add it")
    seeds_key, seeds = settings.get("seeds", (key, [1]))
    counter_key, counter = settings.get("update_counter", (key, None))
    source_key, source = settings.get("rewind_source", (("rewind_source",), "latest"))
    rewind, *later_rewinds = _read_rewinds(values, *settings["rewind"])
    return Request(
        technique=technique,
        name=name,
        title=title,
        sparsities=sparsities,
        rounds=rounds,
        seeds=values.read_numbers(seeds_key, seeds, Seed),
        rewind=rewind[1],
        later_rewinds=tuple(later_rewinds),
        rewind_source=values.parse(source_key, source, Source),
        update_counter=None if counter is None else values.parse(counter_key, counter, Counter),
        budget=_read_budget(values, technique, *settings.get("budget", (key, None))),
        options={
            n: _option(values, settings[n][0], technique, n, settings[n][1])
            for n in technique.options
            if n in settings
        },
        key=key,
    )


def _read_budget(values: Values, technique: Technique, key: Key, value: Any) -> Optional[float]:
    """Return the multiple of the dense model's updates in a text such as ``2x``."""
    if value is None or (technique.takes_others and key == ("budget",)):
        return None  # controls of masks train as long as the dense model
    if technique.takes_others:
        raise values.error(
            key,
            f"{technique.name} takes masks of other techniques, which have their own length; omit"
            " budget",
        )
    text = f"{value}".strip()
    multiple = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)\s*x?", text)
    if multiple is None or not float(multiple[1]):
        raise values.error(
            key, f"budget is {text[:20]!r}, expected a multiple of the dense training, such as 2x"
        )
    return float(multiple[1])


def _read_rewinds(values: Values, key: Key, value: Any) -> list[tuple[float, int]]:
    """Return pairs of a sparsity and the update t of draws from there on, the first from 0 %.

    Args:
        value: an update, or a mapping from the sparsity of a draw to an update, such as
            ``{0%: 50%, 79%: 20%}``.
    """
    if not isinstance(value, dict):
        return [(0.0, values.read_update(key, value))]
    rewinds: list[tuple[float, int]] = []
    for text, update in value.items():
        share = re.fullmatch(r"(\d{1,2}(?:\.\d{1,6})?)\s*%", text)
        if share is None:
            raise values.error((*key, text), f"rewind from {text!r}: write a sparsity such as 79%")
        rewinds.append((float(share[1]) / 100, values.read_update((*key, text), update)))
    starts = [start for start, _ in rewinds]
    if not starts or starts[0] != 0 or any(b <= a for a, b in zip(starts, starts[1:])):
        raise values.error(
            key, "rewind must map increasing sparsities from 0%, as in {0%: 50%, 79%: 20%}"
        )
    return rewinds


def _option(values: Values, key: Key, technique: Technique, name: str, value: Any) -> Any:
    """Return the validated value of an option that only some techniques have."""
    if name in IN_UPDATES:
        updates = values.read_update(key, value)
        if not updates:
            raise values.error(key, f"{name} is {value!r}, expected at least one update")
        return updates
    if name in _LISTED:
        return values.parse(key, value, _LISTED[name].kind)
    if name == "scope":
        return values.read_name(key, SCOPE, value)
    if name == "sparsity":
        return values.parse(key, value, Share)
    if name == "switch":
        sparsities = values.read_numbers(key, value, Share)
        has_several = isinstance(technique.options[name], tuple)
        if not has_several and len(sparsities) > 1:
            count = len(sparsities)
            raise values.error(key, f"switch of {technique.name} has {count} values, expected 1")
        return sparsities if has_several else sparsities[0]
    return tuple(value) if isinstance(value, list) else value
