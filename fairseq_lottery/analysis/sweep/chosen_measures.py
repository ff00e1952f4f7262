"""The measures of a sweep: registered ones, some of them with the settings of the sweep."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_lottery.analysis.registry import Measure, Row, find_measure, registered_measures
from fairseq_lottery.analysis.sweep.connections import CONNECT, connect_measure
from fairseq_lottery.analysis.sweep.settings import ROLE_LABELS, Device, Settings
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of

if TYPE_CHECKING:
    from fairseq_lottery.analysis.roles.rows.role_rows import RoleSieves

#: measures of roles, which read sieves and their labels
ROLES = (
    *("sieve-bias", "argmax-roles", "attention-patterns"),
    *("role-counts", "role-changes", "role-survivors", "role-agreement"),
)
#: measure that reads labels of probing tasks
PROBE = "probe"


def choose_measures(
    settings: Settings,
    device: Device = Device(),  # noqa: B008 - it is frozen
    is_encoder: bool = False,
) -> dict[str, Measure]:
    """Return the measures of a sweep by name.

    Args:
        is_encoder: whether the models are encoders, whose delimiters separate sentences.

    Raises:
        LotteryError: a name is unknown, or labels are missing.
    """
    for name, file in settings.labels.items():
        if not is_plain(file):
            raise LotteryError(f"there is no file {file}, which labels has as {name}")
    known = registered_measures()
    complete = {
        name: replace(
            known[name], function=partial(known[name].function, sieves=_role_sieves(settings))
        )
        for name in ROLES
        if name in known and inputs_of(name, settings)
    }
    if inputs_of(ROLES[0], settings) and not set(ROLES) & set(known):
        raise LotteryError("there are no measures of roles; leave sieves and their labels out")
    _refuse_sieves(settings, is_encoder)
    complete[CONNECT] = connect_measure(settings.subset, device)
    if tasks_of(settings):
        complete[PROBE] = Measure(
            PROBE, "probe", "activations", 1, "probe", (-1.0, 1.0), partial(_probe, settings),
            in_report=("relative",),
        )  # fmt: skip
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


def _refuse_sieves(settings: Settings, is_encoder: bool) -> None:
    """Refuse unknown sieves, and those whose labels are missing, before anything is recorded."""
    from fairseq_lottery.analysis.roles.sieves import SIEVES, SIEVES_OF, why_not

    labelled = _role_sieves(settings).settings.labelled
    for name in settings.sieves:
        if name not in SIEVES:
            raise LotteryError(f"sieve {name!r} is unknown; choose from {', '.join(SIEVES)}")
        if name not in SIEVES_OF[is_encoder]:
            raise LotteryError(f"{why_not(name, is_encoder)}; leave it out of sieves")
        has_delimiters = is_encoder and name == "block"
        if SIEVES[name][1] and name not in labelled and not has_delimiters:
            labels = [f"{one}=FILE" for one in SIEVES[name][1] if one in ROLE_LABELS]
            raise LotteryError(f"the sieve {name} requires labels: {' or '.join(labels)}")


def _probe(settings: Settings, recording: Any) -> Iterator[Row]:
    """Yield the scores of probes of all layers, the mean over the seeds of the probes.

    Words of the source are labelled; a name that starts with ``target.`` or ``alignment`` is of
    target words or of alignments.
    """
    from fairseq_lottery.analysis.probing.probe import probe
    from fairseq_lottery.analysis.probing.session import LabelSource, ProbeSession

    sources = []
    for name, file in tasks_of(settings).items():
        kind = next((k for k in ("target", "alignment") if name.startswith(k)), "source")
        sources.append(LabelSource(file, kind, (), name))
    values: dict[tuple[Any, ...], list[float]] = {}
    for portions in ProbeSession(sources).portions([recording]):
        for row in probe(portions):
            place = tuple(item for item in row.items() if item[0] not in _OF_PROBE)
            values.setdefault(place, []).append(float(row["value"]))
    for place, own in values.items():
        yield {**dict(place), "value": statistics.fmean(own)}


#: columns of a probe's rows that a sweep has not
_OF_PROBE = ("measure", "seed", "value")


def _role_sieves(settings: Settings) -> RoleSieves:
    """Return the sieves of a sweep, with its labels."""
    from fairseq_lottery.analysis.roles.rows.role_rows import RoleSieves
    from fairseq_lottery.analysis.roles.sieve_settings import SieveSettings

    labels: dict[str, Path] = {n: Path(f) for n, f in settings.labels.items() if n in ROLE_LABELS}
    stated = SieveSettings(
        parses={s: labels[f"{s}-conllu"] for s in _SIDES if f"{s}-conllu" in labels},
        boundaries={s: labels[f"{s}-boundaries"] for s in _SIDES if f"{s}-boundaries" in labels},
        alignment=labels.get("alignment"),
    )
    return RoleSieves(stated, settings.sieves)


_SIDES = ("source", "target")
