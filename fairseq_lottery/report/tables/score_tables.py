"""Tables of a metric by technique and share."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Optional

from fairseq_lottery.records.cells import DENSE, Score
from fairseq_lottery.records.plan import METRIC, WEIGHTS
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import WORDS, Evaluation, percent
from fairseq_lottery.report.tables.table_formats import MISSING, Table

#: kind -> header of its column in the table of searches
_KEPT = {**{k: WORDS[k].by for k in ("heads", "units", "blocks")}, WEIGHTS: "weights left"}


def metric_table(group: Group, key: Evaluation) -> Table:
    """Return the table of a metric, with a row for each share and a column for each technique.

    The table of searches, which stop at a share of the metric, has a row for each technique and
    share, with the share of components (s-pruning) or weights (m-pruning) that the search kept.
    """
    if group.rows == METRIC:
        return _search_table(group, key)
    names = _columns(group, key)
    digits, most = group.decimals(key), group.most_seeds(key)
    rows, data = [], []
    for share in (0.0, *(group.sparsities if names != [DENSE] else ())):
        cells = [group.values(key, name, share) for name in names]
        if not share:
            own = [name for name, values in zip(names, cells) if values and name != DENSE]
            dense = group.values(key, DENSE, share)
            cells = [values or dense for values in cells]
        texts = (cell_text(values, most, digits) for values in cells)
        rows.append([group.label_of(share), *texts])
        data.append([share, *(entry for values in cells for entry in _numbers(values))])
    columns = [f"{name} {part}" for name in names for part in ("mean", "sd", "seeds")]
    complete = all(group.values(key, n, s) for n in names for s in group.sparsities)
    notes = _notes(group, key, complete)
    if names != [DENSE]:
        notes.insert(1, _dense_row(group, own))
    return Table(
        slug=group.file(key.slug),
        caption=f"{key.metric} on {key.subset} by {group.words.by} ({key.words}):"
        f" {spread_text(most)}.",
        header=[group.words.axis, *map(group.title_of, names)],
        rows=rows,
        notes=notes,
        data=([group.words.column, *columns], data),
    )


def _dense_row(group: Group, own: Sequence[str]) -> str:
    """Return the note on row 0, which some techniques train themselves."""
    if not own:
        return "0 % is the dense model, the same for every technique."
    titles = ", ".join(map(group.title_of, own))
    return f"0 % is the dense model; for {titles} it is a training of its own without a mask."


def _search_table(group: Group, key: Evaluation) -> Table:
    cells = [(DENSE, 0.0), *((t, s) for s in group.sparsities for t in group.techniques)]
    table, most = group.tables[key], group.most_seeds(key)
    shares = [pair for score in table.values() for pair in (score.closed or {}).items()]
    pruned_kinds = {kind for kind, share in shares if share or kind == WEIGHTS}
    kinds = [kind for kind in _KEPT if kind in pruned_kinds] or ["heads", "blocks"]
    rows, data = [], []
    for technique, share in cells:
        scores = group.scores(key, technique, share)
        values = [score.score for score in scores]
        kept = [_kept_share(scores, kind) for kind in kinds]
        texts = [MISSING if value is None else percent(round(value, 3)) for value in kept]
        score_text = cell_text(values, most, group.decimals(key))
        rows.append([group.title_of(technique), group.label_of(share), score_text, *texts])
        data.append([technique, share or 1.0, *_numbers(values), *kept])
    names = [_KEPT[kind] for kind in kinds]
    notes = _notes(group, key, all(group.values(key, *cell) for cell in cells))
    notes.insert(
        1,
        "A search prunes components or weights while this share of the full model's metric is"
        " kept. The kept components or weights are its result, as the mean over seeds.",
    )
    return Table(
        slug=group.file(key.slug),
        caption=f"{key.metric} on {key.subset} of searches ({key.words}): {spread_text(most)}.",
        header=["technique", group.words.axis, key.metric, *(f"{name}, %" for name in names)],
        rows=rows,
        notes=notes,
        data=(["technique", group.words.column, "mean", "sd", "seeds", *names], data),
    )


def _kept_share(scores: Sequence[Score], kind: str) -> Optional[float]:
    """Return the mean share of a kind that is kept; None if no score records it."""
    shares = [{kind: 0.0} if each.technique == DENSE else each.closed or {} for each in scores]
    pruned = [by_kind[kind] for by_kind in shares if kind in by_kind]
    return 1 - statistics.fmean(pruned) if pruned else None


def _columns(group: Group, key: Evaluation) -> list[str]:
    """Return the techniques that have a score, or else the dense model."""
    shares = (0.0, *group.sparsities)
    scored = [n for n in group.techniques if any(group.values(key, n, s) for s in shares)]
    return scored or [DENSE]


def deviation(values: Sequence[float]) -> Optional[float]:
    """Return the sample standard deviation; None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def spread_text(most: int) -> str:
    """Describe the numbers of a table whose cells have at most ``most`` seeds."""
    if most < 2:
        return "one seed, so no deviation"
    return f"mean ± sample standard deviation over {most} seeds"


def cell_text(values: Sequence[float], most: int, digits: int) -> str:
    """Return a cell as ``26.6 ± 0.2``, with the number of seeds if it is less than ``most``."""
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
    """Return the metric with its signature."""
    signature = next(iter(group.tables[key].values())).signature
    if signature is None:
        return f"{key.metric}, without a signature"
    return f"{key.metric}, signature `{signature}`"


def _notes(group: Group, key: Evaluation, complete: bool) -> list[str]:
    """Return the notes below a table; ``complete`` means that no cell shows a dash."""
    table = group.tables[key]
    notes = [f"{signed(group, key)}."]
    counts = sorted({s.sentences for s in table.values() if s.sentences is not None})
    if counts:
        notes.append(f"{', '.join(f'{count:,}' for count in counts)} sentences.")
    examples = sorted({s.examples for s in table.values() if s.examples is not None})
    notes += [f"{count:,} examples." for count in examples]
    if group.rows != METRIC:
        notes += _shares(group, table.values())
    if key.lower_is_better:
        notes.append("Less is better.")
    absent = len(group.planned - set(table))
    if absent:
        notes.append(
            f"{MISSING} marks cells without a score: of the {len(group.planned)} planned cells"
            f" (technique, {group.words.share} and seed), {absent}"
            f" {'has' if absent == 1 else 'have'} none."
        )
    elif not complete:
        notes.append(f"{MISSING} marks cells that were not planned.")
    return notes


def _shares(group: Group, scores: Collection[Score]) -> list[str]:
    """Return a sentence on the quantity of the shares, with techniques if it differs."""
    start, article = "Shares are", "of"
    if group.rows == WEIGHTS:
        start, article = "Sparsity is", "a share of"
    by_total: dict[str, list[str]] = defaultdict(list)  # quantity -> titles of its techniques
    for score in scores:
        if score.sparsity and score.denominator:
            by_total[_total(group, score)].append(group.title_of(score.technique))
    if len(by_total) < 2:
        notes = [f"{start} {article} {total}." for total in by_total]
    else:
        parts = "; ".join(f"{total} for {_joined(titles)}" for total, titles in by_total.items())
        notes = [f"{start} NOT {article} the same {group.words.noun} in all columns: {parts}."]
    by_pair = [group.title_of(score.technique) for score in scores if score.pair_mask is not None]
    if by_pair:
        notes.append(
            f"The sparsity of {_joined(by_pair)} is that of the mask of one pair of languages; the"
            " model has the weights of all masks."
        )
    return notes


def _total(group: Group, score: Score) -> str:
    """Return the quantity that the share of a score refers to."""
    if group.rows == WEIGHTS:
        return f"{score.denominator}{f' ({score.prunable:,} weights)' if score.prunable else ''}"
    return f"{score.prunable:,} {group.words.noun}" if score.prunable else group.words.noun


def _joined(titles: Iterable[str]) -> str:
    """Return titles with commas, each once."""
    return ", ".join(dict.fromkeys(titles))
