"""The measures of a sweep: registered ones, some of them with the settings of the sweep."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fairseq_lottery.analysis.registry import Measure, Row, find_measure, registered_measures
from fairseq_lottery.analysis.sweep.settings import ROLE_LABELS, Settings
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of

#: measures of roles, which read sieves and their labels
ROLES = ("sieve-bias", "argmax-roles")
#: measure that reads labels of probing tasks
PROBE = "probe"


def choose_measures(settings: Settings) -> dict[str, Measure]:
    """Return the measures of a sweep by name.

    Raises:
        LotteryError: a name is unknown, or a file of labels is missing.
    """
    for name, file in settings.labels.items():
        if not is_plain(file):
            raise LotteryError(f"there is no file {file}, which labels has as {name}")
    known = registered_measures()
    complete = {
        name: replace(known[name], function=partial(_roles, name, settings))
        for name in ROLES
        if name in known and inputs_of(name, settings)
    }
    _refuse_unread(settings, known)
    if tasks_of(settings):
        complete[PROBE] = Measure(
            PROBE, "probe", "activations", 1, "probe", (-1.0, 1.0), partial(_probe, settings)
        )
    if not settings.measures:
        return {**known, **complete}
    chosen = {}
    for name in settings.measures:
        measure = complete.get(name) or find_measure(name)
        chosen[measure.name] = measure
    return chosen


def inputs_of(measure: str, settings: Settings) -> dict[str, str]:
    """Return the settings that a measure reads, with digests of files; empty without any."""
    if measure == PROBE:
        return {name: sha256_of(file) for name, file in tasks_of(settings).items()}
    if measure not in ROLES:
        return {}
    labels = {n: sha256_of(file) for n, file in settings.labels.items() if n in ROLE_LABELS}
    sieves = {"sieves": ",".join(settings.sieves)} if settings.sieves else {}
    return {**labels, **sieves}


def tasks_of(settings: Settings) -> dict[str, str]:
    """Return the probing tasks: name -> file of labels."""
    return {name: file for name, file in settings.labels.items() if name not in ROLE_LABELS}


def _refuse_unread(settings: Settings, known: Mapping[str, Measure]) -> None:
    """Refuse sieves, and labels of roles, that no measure reads."""
    has_roles = settings.sieves or any(name in ROLE_LABELS for name in settings.labels)
    if has_roles and not set(ROLES) & set(known):
        raise LotteryError("there are no measures of roles; leave sieves and their labels out")
    if tasks_of(settings) and find_spec("fairseq_lottery.analysis.probing") is None:
        raise LotteryError(
            f"labels {min(tasks_of(settings))} are of a probe, and there are no probes; choose from"
            f" {', '.join(ROLE_LABELS)}"
        )
    if settings.sieves and set(ROLES) <= set(known):
        sieves = importlib.import_module("fairseq_lottery.analysis.roles.sieves")
        for name in settings.sieves:
            if name not in sieves.SIEVES:
                raise LotteryError(
                    f"sieve {name!r} is unknown; choose from {', '.join(sieves.SIEVES)}"
                )


def _probe(settings: Settings, recording: Any) -> Iterator[Row]:
    """Yield the scores of probes of all layers, the mean over the seeds of the probes.

    Words of the source are labelled; a name that starts with ``target.`` or ``alignment`` is of
    target words or of alignments.
    """
    package = "fairseq_lottery.analysis.probing"
    session, probe = (importlib.import_module(f"{package}.{n}") for n in ("session", "probe"))
    sources = []
    for name, file in tasks_of(settings).items():
        kind = next((k for k in ("target", "alignment") if name.startswith(k)), "source")
        sources.append(session.Source(file, kind, (), name))
    values: dict[tuple[Any, ...], list[float]] = {}
    for portions in session.ProbeSession(sources).portions([recording]):
        for row in probe.probe(portions):
            place = tuple(item for item in row.items() if item[0] not in _OF_PROBE)
            values.setdefault(place, []).append(float(row["value"]))
    for place, own in values.items():
        yield {**dict(place), "value": statistics.fmean(own)}


#: columns of a probe's rows that a sweep has not
_OF_PROBE = ("measure", "seed", "value")


def _roles(measure: str, settings: Settings, recording: Any) -> Iterator[Row]:
    """Yield the roles of heads by the sweep's sieves and labels."""
    package = "fairseq_lottery.analysis.roles"
    sieves = importlib.import_module(f"{package}.sieves")
    labels: dict[str, Path] = {n: Path(f) for n, f in settings.labels.items() if n in ROLE_LABELS}
    stated = sieves.SieveSettings(
        parses={s: labels[f"{s}-conllu"] for s in _SIDES if f"{s}-conllu" in labels},
        boundaries={s: labels[f"{s}-boundaries"] for s in _SIDES if f"{s}-boundaries" in labels},
        alignment=labels.get("alignment"),
    )
    built = sieves.build_sieves(recording, settings.sieves or stated.sieves, stated)
    if measure == "sieve-bias":
        rows = importlib.import_module(f"{package}.rows.sieve_rows")
        yield from rows.sieve_rows(recording, built)
    else:
        rows = importlib.import_module(f"{package}.rows.argmax_rows")
        yield from rows.argmax_rows(recording, built)


_SIDES = ("source", "target")
