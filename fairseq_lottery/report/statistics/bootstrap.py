"""sacreBLEU's paired bootstrap over the sentences of the test set (Koehn 2004), within a seed."""

from __future__ import annotations

import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.files import is_plain, read_text
from fairseq_lottery.report.reading.groups import Cell, Evaluation, Group
from fairseq_lottery.report.reading.records import DENSE
from fairseq_lottery.report.statistics.significance import BOOTSTRAP, Comparison, adjusted, cell_of

RESAMPLES = 1000
#: a difference that the score's second decimal does not show is none, whatever resamples say
NOTHING = 0.005
#: a score may be recorded with one decimal only
ROUNDING = 0.051
#: pairs times sentences above which starting processes pays; about a minute on one core
WORTH_PROCESSES = 150_000
#: bytes of the translations of a test set, of which the largest have a few megabytes
_LARGEST = 1 << 24


@dataclass(frozen=True)
class _Family:
    """Systems of one sparsity and seed, of which every two are tested; plain data only."""

    evaluation: Evaluation
    sparsity: float
    seed: int
    systems: Mapping[str, list[str]]
    references: list[str]
    settings: Mapping[str, Any]

    @property
    def work(self) -> int:
        """Sentences that are compared."""
        return math.comb(len(self.systems), 2) * len(self.references)


def within_seeds(group: Group, key: Evaluation) -> tuple[list[Comparison], list[str]]:
    """sacreBLEU's paired bootstrap of every two techniques, and why cells were left out.

    BLEU only. The translations are read from the runs; a cell takes part where they give the
    score that its record has.
    """
    settings = _settings(group, key)
    if settings is None:
        return [], ["That is done for BLEU only, where its signature can be computed again."]
    systems, references, reasons = _systems(group, key, settings)
    families = []
    for sparsity in group.sparsities:
        for seed in group.seeds:
            names = (DENSE, *group.techniques)
            cells = [cell_of(name, sparsity, seed) for name in names]
            there = {cell[0]: systems[cell] for cell in cells if cell in systems}
            if len(there) > 1:
                families.append(_Family(key, sparsity, seed, there, references, settings))
    found = [each for family in _run(families) for each in adjusted(family)]
    return found, [
        f"{count} {'cell is' if count == 1 else 'cells are'} left out: {reason}."
        for reason, count in reasons.items()
    ]


def _systems(
    group: Group, key: Evaluation, settings: Mapping[str, Any]
) -> tuple[dict[Cell, list[str]], list[str], Counter[str]]:
    """Translations by cell, the references (the same for all), why cells have none."""
    from sacrebleu.metrics import BLEU

    systems: dict[Cell, list[str]] = {}
    references: list[str] = []
    reasons: Counter[str] = Counter()
    for cell, score in group.tables[key].items():
        hypotheses, path = group.files[key, cell]
        if hypotheses is None or path is None or not (is_plain(hypotheses) and is_plain(path)):
            reasons["their translations or references are not in the run's folder"] += 1
            continue
        try:
            references = references or _lines(path)
            lines = _lines(hypotheses)
        except (OSError, UnicodeDecodeError):
            reasons["their translations or references cannot be read"] += 1
            continue
        if not len(lines) == len(references) == (score.sentences or len(lines)):
            reasons["they have not as many translations as references"] += 1
            continue
        again = BLEU(**settings).corpus_score(lines, [references]).score
        if abs(again - score.score) > ROUNDING:
            reasons["their translations do not give the score that is recorded"] += 1
            continue
        systems[cell] = lines
    return systems, references, reasons


def _run(families: list[_Family]) -> Iterable[list[Comparison]]:
    """Test every family, side by side on all cores where that takes longer than a moment."""
    if len(families) < 2 or sum(family.work for family in families) < WORTH_PROCESSES:
        return [_bootstrap(family) for family in families]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(cores or 1, len(families))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(_bootstrap, families))


def _settings(group: Group, key: Evaluation) -> Optional[dict[str, Any]]:
    """BLEU's arguments by the table's signature; None where that is not plain BLEU."""
    from sacrebleu.metrics import BLEU

    signature = next(iter(group.tables[key].values())).signature
    if key.metric != "BLEU" or signature is None:
        return None
    parts: Mapping[str, str] = dict(re.findall(r"(\w+):([^|]*)", signature))
    if parts.get("nrefs") != "1" or parts.get("smooth") not in ("exp", "none"):
        return None
    if parts.get("tok") not in BLEU.TOKENIZERS or parts.get("case") not in ("mixed", "lc"):
        return None
    return {
        "lowercase": parts["case"] == "lc",
        "tokenize": parts["tok"],
        "smooth_method": parts["smooth"],
        "effective_order": parts.get("eff") == "yes",
        "force": True,  # no advice on detokenization: the score is there already
    }


def _lines(path: Path) -> list[str]:
    """One sentence a line; only a newline ends one, and the last may be empty as well."""
    *lines, last = read_text(path, _LARGEST).split("\n")
    return [*lines, last] if last else lines


def _bootstrap(family: _Family) -> list[Comparison]:
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    logging.getLogger("sacrebleu").setLevel(logging.WARNING)  # it tells of every step
    named: list[tuple[str, Sequence[str]]] = list(family.systems.items())
    place = (BOOTSTRAP, family.evaluation, family.sparsity, family.seed)
    found = []
    for number, (a, _) in enumerate(named[:-1]):
        metric = {"BLEU": BLEU(**family.settings)}
        references = [family.references]
        test = PairedTest(named[number:], metric, references, "bs", n_samples=RESAMPLES)
        results: Any = test()[1]["BLEU"]
        for (b, _), result in zip(named[number + 1 :], results[1:]):
            gap = float(results[0].score - result.score)
            # the bootstrap counts no resample beyond a difference of zero, and calls it one
            p = 1.0 if abs(gap) < NOTHING else float(result.p_value)
            found.append(Comparison(*place, a, b, gap, p))
    return found
