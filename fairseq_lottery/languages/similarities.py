"""Similarities of languages: overlaps of their masks, or agreement of their importance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import model_file, refuse_missing
from fairseq_lottery.formats import read_source
from fairseq_lottery.formats.pair_masks import is_pair_masks, load_pair_masks
from fairseq_lottery.heads.components.anatomy import type_of
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.rank_agreement import rank_agreement
from fairseq_lottery.heads.measures.score_table import is_scores, load_scores
from fairseq_lottery.languages.square_table import SquareTable
from fairseq_lottery.masks import Mask, above_chance, overlap

#: columns of the rows of pairs of languages
COLUMNS = (
    *("language", "other", "part", "matrix", "components", "overlap", "chance", "above_chance"),
    *("spearman", "kendall"),
)
Rows = list[dict[str, Any]]


def similarities(files: Mapping[str, str], kind: str = "heads") -> tuple[str, Rows]:
    """Return the name of the similarity in a square table, and rows of all pairs of languages.

    Args:
        files: language -> ticket, checkpoint or snapshot with its mask; or pair of languages ->
            file with masks of pairs; or language -> file of scores of its importance.
        kind: kind of components whose scores are compared.

    Raises:
        LotteryError: a file cannot be read or is dense, some files are masks and others scores, or
            two files are of different models.
    """
    are_scores = [is_scores(path) for path in files.values()]
    if all(are_scores):
        return "spearman", _importance(files, kind)
    if any(are_scores):
        names = list(files.values())
        raise LotteryError(
            f"{names[are_scores.index(True)]} has scores, but"
            f" {names[are_scores.index(False)]} has not; give masks of all languages, or scores"
        )
    return "above_chance", _masks(files)


def square(names: Sequence[str], rows: Rows, measure: str) -> SquareTable:
    """Return the table of one measure, over all matrices or all components."""
    whole = [row for row in rows if row.get("part", row.get("matrix")) == "all"]
    return SquareTable.of(names, {(row["language"], row["other"]): row[measure] for row in whole})


def _masks(files: Mapping[str, str]) -> Rows:
    masks = _read_masks(files)
    rows: Rows = []
    for a, b in itertools.combinations(masks, 2):
        try:
            overlaps = overlap(masks[a], masks[b])
        except LotteryError as error:
            raise LotteryError(f"{files[a]} and {files[b]}: {error}") from error
        for matrix, (jaccard, chance) in overlaps.items():
            values = {
                "overlap": jaccard,
                "chance": chance,
                "above_chance": above_chance(jaccard, chance),
            }
            rows.append({"language": a, "other": b, "matrix": matrix or "all", **values})
    return rows


def _read_masks(files: Mapping[str, str]) -> dict[str, Mask]:
    """Return the mask of each name; of a file with masks of pairs, that of the pair."""
    refuse_missing(*map(model_file, files.values()))
    of_pairs = {path: load_pair_masks(path) for path in files.values() if is_pair_masks(path)}
    masks = {}
    for name, path in files.items():
        if path in of_pairs:
            of_pairs[path].refuse_unknown([name], f"the masks of {path} are named by their pairs")
            masks[name] = of_pairs[path][name]
            continue
        mask = read_source(path).mask
        if mask is None:
            raise LotteryError(f"{path} is dense and has no mask; give a pruned model or a ticket")
        masks[name] = mask
    return masks


def _importance(files: Mapping[str, str], kind: str) -> Rows:
    loaded = {name: load_scores(path) for name, path in files.items()}
    rows: Rows = []
    for a, b in itertools.combinations(loaded, 2):
        if loaded[a][0] != loaded[b][0]:
            raise LotteryError(f"{files[a]} and {files[b]} have scores of different models")
        pair = loaded[a][1], loaded[b][1]
        try:
            parts = _parts(*pair, kind)
            agreements = {part: rank_agreement(*scores, kind) for part, scores in parts.items()}
        except LotteryError as error:
            raise LotteryError(f"{files[a]} and {files[b]}: {error}") from error
        for part, found in agreements.items():
            row = {"language": a, "other": b, "part": part, "components": found.components}
            values = {
                "overlap": found.overlap, "chance": found.chance,
                "above_chance": above_chance(found.overlap, found.chance),
                "spearman": found.spearman, "kendall": found.kendall,
            }  # fmt: skip
            # a correlation is undefined if all scores of a part are equal
            rows.append({**row, **{n: v for n, v in values.items() if not math.isnan(v)}})
        if "spearman" not in rows[-len(agreements)]:
            raise LotteryError(f"all scores of the {kind} in {files[a]} or {files[b]} are equal")
    return rows


def _parts(first: Scores, second: Scores, kind: str) -> dict[str, tuple[Scores, Scores]]:
    """Return the scores of all components, and of each type if there are several."""
    both = first.get(kind, {}), second.get(kind, {})
    types = dict.fromkeys(map(type_of, both[0]))
    parts = {"all": ({kind: both[0]}, {kind: both[1]})}
    for one in types if len(types) > 1 else ():
        own = [{kind: {n: v for n, v in s.items() if type_of(n) == one}} for s in both]
        parts[one] = own[0], own[1]
    return parts
