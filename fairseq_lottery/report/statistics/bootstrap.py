"""sacreBLEU's paired bootstrap over the sentences of the test set (Koehn 2004), within a seed.

The resamples and the p-value are those of ``sacrebleu.significance.PairedTest``, to the bit; but
each system is scored once on every resample instead of once for every pair that it is in, and the
differences give an interval as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.files import is_plain, read_text
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell, Evaluation
from fairseq_lottery.report.statistics.significance import (
    BOOTSTRAP,
    LEVEL,
    Comparison,
    adjusted,
    cell_of,
)

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 1000
#: the seed of sacreBLEU's resamples
SEED = 12345
#: a difference that the score's second decimal does not show is none, whatever resamples say
NOTHING = 0.005
#: a score may be recorded with one decimal only
ROUNDING = 0.051
#: bytes of the translations of a test set, of which the largest have a few megabytes
_LARGEST = 1 << 24


def within_seeds(group: Group, key: Evaluation) -> tuple[list[Comparison], list[str]]:
    """sacreBLEU's paired bootstrap of every two techniques, and why cells were left out.

    BLEU only. The translations are read from the runs; a cell takes part where they give the
    score that its record has.
    """
    settings = _settings(group, key)
    if settings is None:
        return [], ["That is done for BLEU only, where its signature can be computed again."]
    systems, reasons = _systems(group, key, settings)
    scores = {cell: _resampled(system, settings) for cell, system in systems.items()}
    found = []
    for sparsity in group.sparsities:
        for seed in group.seeds:
            cells = [cell_of(name, sparsity, seed) for name in (DENSE, *group.techniques)]
            there = [(cell[0], scores[cell]) for cell in cells if cell in scores]
            found += adjusted(
                [
                    Comparison(BOOTSTRAP, key, sparsity, seed, a, b, *_test(one, other))
                    for (a, one), (b, other) in combinations(there, 2)
                ]
            )
    return found, [
        f"{count} {'cell is' if count == 1 else 'cells are'} left out: {reason}."
        for reason, count in reasons.items()
    ]


def _systems(
    group: Group, key: Evaluation, settings: Mapping[str, Any]
) -> tuple[dict[Cell, np.ndarray], Counter[str]]:
    """Statistics of each sentence by cell, and why cells have none."""
    systems: dict[Cell, np.ndarray] = {}
    references: list[str] = []
    reasons: Counter[str] = Counter()
    for cell, score in group.tables[key].items():
        hypotheses, path = score.hypotheses, score.references
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
        system = _statistics(lines, references, settings)
        if abs(_bleu(system.sum(0).tolist(), settings) - score.score) > ROUNDING:
            reasons["their translations do not give the score that is recorded"] += 1
            continue
        systems[cell] = system
    return systems, reasons


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
    }


def _lines(path: str) -> list[str]:
    """One sentence a line; only a newline ends one, and the last may be empty as well."""
    *lines, last = read_text(path, _LARGEST).split("\n")
    return [*lines, last] if last else lines


def _statistics(
    lines: Sequence[str], references: Sequence[str], settings: Mapping[str, Any]
) -> np.ndarray:
    """A row a sentence: length, length of the reference, four counts of matches, four totals."""
    import numpy as np
    from sacrebleu.metrics import BLEU

    # of effective order, which decides no count, sacreBLEU has no advice for single sentences
    metric = BLEU(**{**settings, "effective_order": True})
    scores = [metric.sentence_score(line, [ref]) for line, ref in zip(lines, references)]
    rows = [[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores]
    return np.array(rows, dtype="int64").reshape(-1, 10)


def _bleu(sums: Any, settings: Mapping[str, Any]) -> float:
    from sacrebleu.metrics import BLEU

    more = {name: settings[name] for name in ("smooth_method", "effective_order")}
    score = BLEU.compute_bleu(sums[2:6], sums[6:], int(sums[0]), int(sums[1]), **more)
    return float(score.score)


def _resampled(system: np.ndarray, settings: Mapping[str, Any]) -> tuple[float, np.ndarray]:
    """The score of a system, and its scores on the resamples, the same for all systems."""
    import numpy as np

    count = len(system)
    chosen = np.random.default_rng(SEED).choice(count, size=(RESAMPLES, count), replace=True)
    times = np.empty((RESAMPLES, count), dtype="float32")
    for row, sentences in zip(times, chosen):
        row[:] = np.bincount(sentences, minlength=count)
    sums = times @ system.astype("float32")  # exact below 2^24, and of sacreBLEU's type
    scores = np.array([_bleu(row, settings) for row in sums])
    return _bleu(system.sum(0).tolist(), settings), scores


def _test(
    one: tuple[float, np.ndarray], other: tuple[float, np.ndarray]
) -> tuple[float, float, float, float]:
    """Difference, p and interval, as sacreBLEU has them."""
    import numpy as np

    gap, gaps = one[0] - other[0], one[1] - other[1]
    low, high = map(float, np.percentile(gaps, [50 * LEVEL, 100 - 50 * LEVEL]))
    if abs(gap) < NOTHING:
        return gap, 1.0, low, high  # the bootstrap would call a difference of zero one
    beyond = np.abs(gaps) - np.abs(gaps).mean() > abs(gap)
    return gap, (int(beyond.sum()) + 1) / (RESAMPLES + 1), low, high
