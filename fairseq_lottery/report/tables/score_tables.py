"""Tables of a group: one metric by technique and share, and the updates behind each cell."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from fairseq_lottery.records.cells import DENSE, Score
from fairseq_lottery.records.plan import METRIC, WEIGHTS
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import WORDS, Cell, Evaluation, percent
from fairseq_lottery.report.tables.table_formats import MISSING, Table

#: metrics that fairseq's criterions log, which have three decimals
LOSSES = {"loss", "nll_loss", "ppl"}
#: metrics of which less is better; of an extra score this is not known, and nothing depends on it
LOWER_IS_BETTER = {"TER", *LOSSES}
SACREBLEU = {"BLEU", "chrF", "TER"}
#: kind -> what the column of its share is called in the table of searches
_LEFT = {**{k: WORDS[k].by for k in ("heads", "units", "blocks")}, WEIGHTS: "weights left"}


def metric_table(group: Group, key: Evaluation) -> Table:
    """One metric under one evaluation: a row a share, a column a technique.

    Of searches, which stop at a share of the metric, it has a row a technique and share, and what
    they leave: some close heads and FFN blocks (s-pruning), some prune single weights (m-pruning).
    """
    if group.rows == METRIC:
        return _search_table(group, key)
    names = _columns(group, key)
    digits, most = decimals(group.tables[key].values()), most_seeds(group, key)
    rows, data = [], []
    for share in (0.0, *(group.sparsities if names != [DENSE] else ())):
        cells = [group.values(key, name if share else DENSE, share) for name in names]
        texts = (cell_text(values, most, digits) for values in cells)
        rows.append([group.label_of(share), *texts])
        data.append([share, *(entry for values in cells for entry in _numbers(values))])
    wide = [f"{name} {part}" for name in names for part in ("mean", "sd", "seeds")]
    complete = all(group.values(key, n, s) for n in names for s in group.sparsities)
    notes = _notes(group, key, complete)
    if names != [DENSE]:
        notes.insert(1, "0 % is the dense model, the same for every technique.")
    return Table(
        slug=group.file(key.slug),
        caption=f"{key.metric} on {key.subset} by {group.words.by} ({key.words}):"
        f" {spread_text(most)}.",
        header=[group.words.axis, *map(group.title_of, names)],
        rows=rows,
        notes=notes,
        data=([group.words.column, *wide], data),
    )


def _search_table(group: Group, key: Evaluation) -> Table:
    cells = [(DENSE, 0.0), *((t, s) for s in group.sparsities for t in group.techniques)]
    table, most = group.tables[key], most_seeds(group, key)
    shares = [pair for score in table.values() for pair in (score.closed or {}).items()]
    closes = {kind for kind, share in shares if share or kind == WEIGHTS}
    kinds = [kind for kind in _LEFT if kind in closes] or ["heads", "blocks"]
    rows, data = [], []
    for technique, share in cells:
        scores = group.scores(key, technique, share)
        values = [score.score for score in scores]
        left = [_left(scores, kind) for kind in kinds]
        texts = [MISSING if one is None else percent(round(one, 3)) for one in left]
        score_text = cell_text(values, most, decimals(table.values()))
        rows.append([group.title_of(technique), group.label_of(share), score_text, *texts])
        data.append([technique, share or 1.0, *_numbers(values), *left])
    names = [_LEFT[kind] for kind in kinds]
    notes = _notes(group, key, all(group.values(key, *cell) for cell in cells))
    notes.insert(
        1,
        "A search closes parts, or prunes weights, while this share of the full model's metric is"
        " kept; what is left is found, not asked for, and stands as the mean over seeds.",
    )
    return Table(
        slug=group.file(key.slug),
        caption=f"{key.metric} on {key.subset} of searches ({key.words}): {spread_text(most)}.",
        header=["technique", group.words.axis, key.metric, *(f"{name}, %" for name in names)],
        rows=rows,
        notes=notes,
        data=(["technique", group.words.column, "mean", "sd", "seeds", *names], data),
    )


def _left(scores: Sequence[Score], kind: str) -> Optional[float]:
    """The mean share that stays open; None where no score says what is closed."""
    every = [{kind: 0.0} if each.technique == DENSE else each.closed or {} for each in scores]
    closed = [shares[kind] for shares in every if kind in shares]
    return 1 - statistics.fmean(closed) if closed else None


def updates_table(group: Group, updates: Mapping[Cell, int]) -> Optional[Table]:
    """Updates of training behind each cell; None where no plan says them."""
    names = [n for n in group.techniques if any(n == cell[0] for cell in updates)]
    if not names:
        return None
    rows = []
    for share in (0.0, *group.sparsities):
        row = [group.label_of(share)]
        for name in names:
            cells = [(name if share else DENSE, share, seed) for seed in group.seeds]
            counts = {updates[cell] for cell in cells if cell in updates}
            row.append(" to ".join(f"{n:,}" for n in sorted(counts)) or MISSING)
        rows.append(row)
    return Table(
        slug=group.file("updates"),
        caption="Updates of training behind each cell.",
        header=[group.words.axis, *map(group.title_of, names)],
        rows=rows,
        notes=[
            "All trainings that lead to a cell count: the dense model where masks or weights come"
            " from it, every earlier round, and the cell's own. Of a training of which only a"
            " snapshot is used, the updates up to the snapshot count.",
            "A technique with more updates than the dense model may score higher for that alone.",
        ],
    )


def _columns(group: Group, key: Evaluation) -> list[str]:
    """The techniques that have a score; the dense model where none has."""
    names = group.techniques
    return [n for n in names if any(group.values(key, n, s) for s in group.sparsities)] or [DENSE]


def most_seeds(group: Group, key: Evaluation) -> int:
    """How many seeds the cell has that has the most."""
    return max(len(group.values(key, *cell[:2])) for cell in group.tables[key])


def deviation(values: Sequence[float]) -> Optional[float]:
    """The sample standard deviation, None below two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def decimals(scores: Iterable[Score]) -> int:
    """Return 1 for sacreBLEU's metrics and others of 0 to 100, 3 for losses and those around 1."""
    fine = all(
        each.metric in LOSSES or (abs(each.score) <= 1.5 and each.metric not in SACREBLEU)
        for each in scores
    )
    return 3 if fine else 1


def spread_text(most: int) -> str:
    """What the numbers of a table are, by its cells' most seeds."""
    if most < 2:
        return "one seed, so no deviation"
    return f"mean ± sample standard deviation over {most} seeds"


def cell_text(values: Sequence[float], most: int, digits: int) -> str:
    """``26.6 ± 0.2``; cells of fewer seeds than the table's say how many."""
    if not values:
        return MISSING
    text = f"{statistics.fmean(values):.{digits}f}"
    spread = deviation(values)
    if spread is not None:
        text += f" ± {spread:.{digits}f}"
    return text if len(values) == most else f"{text} (n={len(values)})"


def _numbers(values: Sequence[float]) -> list[Any]:
    mean = statistics.fmean(values) if values else None
    return [mean, deviation(values), len(values)]


def signed(group: Group, key: Evaluation) -> str:
    """The metric with its signature."""
    signature = next(iter(group.tables[key].values())).signature
    if signature is None:
        return f"{key.metric}, without a signature"
    return f"{key.metric}, signature `{signature}`"


def _notes(group: Group, key: Evaluation, complete: bool) -> list[str]:
    """What has to stand below a table; ``complete`` says that no cell shows a dash."""
    table = group.tables[key]
    notes = [f"{signed(group, key)}."]
    counts = sorted({s.sentences for s in table.values() if s.sentences is not None})
    if counts:
        notes.append(f"{', '.join(f'{count:,}' for count in counts)} sentences.")
    if group.rows != METRIC:
        notes += _shares(group, table.values())
    if key.metric in LOWER_IS_BETTER:
        notes.append("Less is better.")
    absent = len(group.planned - set(table))
    if absent:
        notes.append(
            f"{MISSING} marks what has no score: of the {len(group.planned)} cells (technique,"
            f" {group.words.share} and seed) that were meant to be run, {absent}"
            f" {'has' if absent == 1 else 'have'} none."
        )
    elif not complete:
        notes.append(f"{MISSING} marks what was not meant to be run.")
    return notes


def _shares(group: Group, scores: Iterable[Score]) -> list[str]:
    """What the shares are of, as a sentence; it names techniques where they differ."""
    of_weights = group.rows == WEIGHTS
    users: dict[str, dict[str, bool]] = {}
    for score in scores:
        if score.sparsity and score.denominator:
            whole = group.words.noun
            if of_weights:
                size = f" ({score.prunable:,} weights)" if score.prunable else ""
                whole = f"{score.denominator}{size}"
            elif score.prunable:
                whole = f"{score.prunable:,} {whole}"
            users.setdefault(whole, {})[group.title_of(score.technique)] = True
    start, article = ("Sparsity is", "a share of") if of_weights else ("Shares are", "of")
    if len(users) < 2:
        return [f"{start} {article} {whole}." for whole in users]
    parts = "; ".join(f"{whole} for {', '.join(titles)}" for whole, titles in users.items())
    return [f"{start} NOT {article} the same {group.words.noun} in all columns: {parts}."]
