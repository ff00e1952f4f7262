"""Read dependency relations between the words of a recording, and select some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Union

from fairseq_lottery.analysis.labels.label_file import RELATION, Pair, read_labels
from fairseq_lottery.analysis.labels.matching import match_labels
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.errors import LotteryError

#: relations of Pande et al. and Voita et al. ``obj`` is the name of ``dobj`` in UD 2
RELATIONS = ("nsubj", "obj", "dobj", "amod", "advmod")


def read_arcs(path: Union[str, Path], recording: Recording, side: str) -> list[tuple[Pair, ...]]:
    """Return dependent, head and relation of the arcs between words of each recorded sentence.

    Args:
        path: CoNLL-U file with all sentences of the subset, or with the recorded ones.
        side: ``source`` or ``target``.

    Raises:
        LotteryError: the file cannot be read, lacks heads, or its words do not match.
    """
    file = read_labels(path, (RELATION,), "conllu")
    for number, sentence in enumerate(file.sentences, 1):
        if not sentence.is_parsed:
            raise LotteryError(
                f"{path}: a word of sentence {number} has the HEAD '_', expected the ID of a word;"
                " parse the text"
            )
    return [labels.arcs for labels in match_labels(recording, (side,), file)]


def has_relation(relation: str, name: str) -> bool:
    """Return whether a relation is ``name``, or a subtype of it such as ``nsubj:pass``."""
    return relation == name or relation.partition(":")[0] == name


def select_relations(arcs_of: Iterable[Sequence[Pair]], names: Sequence[str]) -> list[str]:
    """Return the named relations that occur; by default those of ``RELATIONS``.

    Raises:
        LotteryError: a named relation does not occur, or none of ``RELATIONS``.
    """
    existing = {relation for sentence in arcs_of for _, _, relation in sentence}
    bases = existing | {name.partition(":")[0] for name in existing}
    chosen = [name for name in names or RELATIONS if name in bases]
    missing = [name for name in names if name not in bases]
    if missing or not chosen:
        shown = ", ".join(sorted(bases)[:20]) or "none"
        raise LotteryError(
            f"no arc has the relation {', '.join(missing or RELATIONS)}; choose --relations from"
            f" {shown}"
        )
    return chosen
