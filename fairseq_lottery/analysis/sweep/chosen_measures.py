"""The measures of a sweep: registered ones, some of them with the settings of the sweep."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fairseq_lottery.analysis.registry import Measure, Row, find_measure, measures
from fairseq_lottery.analysis.sweep.settings import ROLE_LABELS, Settings
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of

#: measures of roles, which read sieves and their labels
ROLES = ("sieve-bias", "argmax-roles")


def choose_measures(settings: Settings) -> dict[str, Measure]:
    """Return the measures of a sweep by name.

    Raises:
        LotteryError: a name is unknown, or a file of labels is missing.
    """
    for name, file in settings.labels.items():
        if not is_plain(file):
            raise LotteryError(f"there is no file {file}, which labels has as {name}")
    known = measures()
    complete = {
        name: replace(known[name], function=partial(_roles, name, settings))
        for name in ROLES
        if name in known and inputs_of(name, settings)
    }
    _refuse_unused(settings, known)
    if not settings.measures:
        return {**known, **complete}
    chosen = {}
    for name in settings.measures:
        measure = complete.get(name) or find_measure(name)
        chosen[measure.name] = measure
    return chosen


def inputs_of(measure: str, settings: Settings) -> dict[str, str]:
    """Return the settings that a measure reads, with digests of files; empty without any."""
    if measure not in ROLES:
        return {}
    labels = {n: sha256_of(file) for n, file in settings.labels.items() if n in ROLE_LABELS}
    sieves = {"sieves": ",".join(settings.sieves)} if settings.sieves else {}
    return {**labels, **sieves}


def _refuse_unused(settings: Settings, known: Mapping[str, Measure]) -> None:
    """Refuse labels and sieves that no measure reads."""
    unused = [name for name in settings.labels if name not in ROLE_LABELS]
    if unused:
        raise LotteryError(
            f"labels {unused[0]} are read by no measure; name one of {', '.join(ROLE_LABELS)}"
        )
    if (settings.labels or settings.sieves) and not set(ROLES) & set(known):
        raise LotteryError("sieves and labels are read by no installed measure; leave them out")
    if settings.sieves and set(ROLES) <= set(known):
        sieves = importlib.import_module("fairseq_lottery.analysis.roles.sieves")
        for name in settings.sieves:
            if name not in sieves.SIEVES:
                raise LotteryError(
                    f"sieve {name!r} is unknown; choose from {', '.join(sieves.SIEVES)}"
                )


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
