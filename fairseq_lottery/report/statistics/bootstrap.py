"""sacreBLEU's paired bootstrap over the sentences of a test set (Koehn 2004), within a seed.

Resamples and p-values equal those of ``sacrebleu.significance.PairedTest`` exactly. Here, each
system is scored on every resample once instead of once per pair, and the differences give an
interval, too.
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
from fairseq_lottery.report.reading.table_words import Cell, Evaluation, cell_of
from fairseq_lottery.report.statistics.significance import BOOTSTRAP, LEVEL, Comparison, adjusted

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 1000
#: the seed of sacreBLEU's resamples
SEED = 12345
#: smallest difference that the second decimal of a score shows; smaller ones are not tested
NOTHING = 0.005
#: tolerance for scores that are recorded with one decimal
ROUNDING = 0.051
#: maximum bytes of the translations of a test set, which have at most a few megabytes
_LARGEST = 1 << 24


def within_seeds(group: Group, key: Evaluation) -> tuple[list[Comparison], list[str]]:
    """Return tests of all pairs of techniques, and the reasons why cells are omitted.

    Only BLEU is tested. The translations are read from the runs; cells whose translations do not
    give the recorded score are omitted.
    """
    settings = _settings(group, key)
    if settings is None:
        return [], ["Only BLEU with a plain signature is tested by the bootstrap."]
    systems, reasons = _systems(group, key, settings)
    scores = {cell: _resampled(system, settings) for cell, system in systems.items()}
    comparisons = []
    for sparsity in group.sparsities:
        for seed in group.seeds:
            cells = [cell_of(name, sparsity, seed) for name in (DENSE, *group.techniques)]
            scored = [(cell[0], scores[cell]) for cell in cells if cell in scores]
            comparisons += adjusted(
                [
                    Comparison(BOOTSTRAP, key, sparsity, seed, a, b, *_test(scores_a, scores_b))
                    for (a, scores_a), (b, scores_b) in combinations(scored, 2)
                ]
            )
    return comparisons, [
        f"{count} {'cell is' if count == 1 else 'cells are'} omitted: {reason}."
        for reason, count in reasons.items()
    ]


def _systems(
    group: Group, key: Evaluation, settings: Mapping[str, Any]
) -> tuple[dict[Cell, np.ndarray], Counter[str]]:
    """Return statistics of each sentence by cell, and reasons why cells have none."""
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
            reasons["the numbers of translations and references differ"] += 1
            continue
        system = _statistics(lines, references, settings)
        if abs(_bleu(system.sum(0).tolist(), settings) - score.score) > ROUNDING:
            reasons["their translations do not give the recorded score"] += 1
            continue
        systems[cell] = system
    return systems, reasons


def _settings(group: Group, key: Evaluation) -> Optional[dict[str, Any]]:
    """Return BLEU's arguments from the table's signature; None if it is not plain BLEU."""
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
    """Return the sentences of a file; only a newline ends one, and the last may be empty."""
    *lines, last = read_text(path, _LARGEST).split("\n")
    return [*lines, last] if last else lines


def _statistics(
    lines: Sequence[str], references: Sequence[str], settings: Mapping[str, Any]
) -> np.ndarray:
    """Return a row per sentence: length, reference length, four match counts, four totals."""
    import numpy as np
    from sacrebleu.metrics import BLEU

    # effective order silences a warning of sacreBLEU for single sentences and changes no count
    metric = BLEU(**{**settings, "effective_order": True})
    scores = [metric.sentence_score(line, [ref]) for line, ref in zip(lines, references)]
    rows = [[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores]
    return np.array(rows, dtype="int64").reshape(-1, 10)


def _bleu(sums: Any, settings: Mapping[str, Any]) -> float:
    from sacrebleu.metrics import BLEU

    arguments = {name: settings[name] for name in ("smooth_method", "effective_order")}
    score = BLEU.compute_bleu(sums[2:6], sums[6:], int(sums[0]), int(sums[1]), **arguments)
    return float(score.score)


def _resampled(system: np.ndarray, settings: Mapping[str, Any]) -> tuple[float, np.ndarray]:
    """Return the score of a system, and its scores on resamples that all systems share."""
    import numpy as np

    count = len(system)
    samples = np.random.default_rng(SEED).choice(count, size=(RESAMPLES, count), replace=True)
    repeats = np.empty((RESAMPLES, count), dtype="float32")
    for row, sentences in zip(repeats, samples):
        row[:] = np.bincount(sentences, minlength=count)
    sums = repeats @ system.astype("float32")  # exact below 2^24, and sacreBLEU's type
    scores = np.array([_bleu(row, settings) for row in sums])
    return _bleu(system.sum(0).tolist(), settings), scores


def _test(
    a: tuple[float, np.ndarray], b: tuple[float, np.ndarray]
) -> tuple[float, float, float, float]:
    """Return difference, p-value and interval as sacreBLEU computes them."""
    import numpy as np

    gap, gaps = a[0] - b[0], a[1] - b[1]
    low, high = map(float, np.percentile(gaps, [50 * LEVEL, 100 - 50 * LEVEL]))
    if abs(gap) < NOTHING:
        return gap, 1.0, low, high  # the bootstrap would find a difference for a gap of 0
    beyond = np.abs(gaps) - np.abs(gaps).mean() > abs(gap)
    return gap, (int(beyond.sum()) + 1) / (RESAMPLES + 1), low, high
