"""Spans of BIO labels, and their F1, as the CoNLL tasks count them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Optional

_SPAN_LABEL = re.compile(r"O|[BIES]-.+")
#: first number, last number, type
Span = tuple[int, int, str]


def are_span_labels(labels: Iterable[str]) -> bool:
    """Return whether labels are ``O``, and ``B-``, ``I-``, ``E-`` or ``S-`` with a type."""
    names = set(labels)
    return any(name != "O" for name in names) and all(map(_SPAN_LABEL.fullmatch, names))


def spans(labels: Sequence[str]) -> set[Span]:
    """Return the spans of a sentence, for BIO, IOB1 (CoNLL-2003 as published) and BIOES.

    As in the scorer of the CoNLL tasks, a span starts at ``B`` or ``S``, or at a label whose
    predecessor is ``O``, ends a span, or has another type.
    """
    found = set()
    start, before, kind = 0, "O", ""
    for number, label in enumerate([*labels, "O"]):
        mark, _, name = label.partition("-")
        if before in "BIES" and (mark in "BSO" or before in "ES" or name != kind):
            found.add((start, number - 1, kind))
        if mark in "BS" or (mark in "IE" and (before in "OES" or name != kind)):
            start = number
        before, kind = mark, name
    return found


def span_f1(
    gold: Iterable[Sequence[str]],
    predicted: Iterable[Sequence[str]],
    kind: Optional[str] = None,
) -> float:
    """Return the F1 of exact spans with types, over all sentences; 0 if none is correct.

    Args:
        gold: labels of each sentence.
        predicted: predicted labels of each sentence.
        kind: count only spans of this type.
    """
    correct = total = 0
    for labels, guesses in zip(gold, predicted):
        expected, found = (
            {span for span in spans(own) if kind in (None, span[2])} for own in (labels, guesses)
        )
        correct += len(expected & found)
        total += len(expected) + len(found)
    return 2 * correct / total if total else 0.0
