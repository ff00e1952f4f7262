"""``TASKS``: the demo's tasks for encoders, and balanced examples of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from fairseq_lottery.demo.encoders import clause_tasks, entailment, marked_words, sentence_pairs
from fairseq_lottery.demo.encoders.acceptability import AMBIGUOUS_VERB, breaks_of, broken
from fairseq_lottery.demo.encoders.word_classes import WORDS, held_out_words
from fairseq_lottery.demo.meanings.meaning import draw, verbs_of
from fairseq_lottery.demo.meanings.styles import (
    Style,
    clauses_in_order,
    draw_style,
    english,
    written,
)
from fairseq_lottery.demo.text_files import Example


class Draw(NamedTuple):
    """What an example is drawn with.

    Attributes:
        rng: the task's stream.
        label: the label of the example; "" for a score.
        words: the words that may be marked.
    """

    rng: Random
    label: str
    words: frozenset[str]


@dataclass(frozen=True)
class EncoderTask:
    """A task for encoders.

    Attributes:
        kind: ``sentence``, ``pair``, ``marked word``, or ``score`` of a pair.
        labels: its labels in the order of fairseq's numbers; none for a score.
        metric: how a model is measured.
        example: draws an example.
    """

    kind: str
    labels: tuple[str, ...]
    metric: str
    example: Callable[[Draw], Example]


def draw_parts(name: str, seed: int, sizes: Mapping[str, int]) -> dict[str, list[Example]]:
    """Draw the parts of a task; no two examples of it have the same texts.

    Each label is equally frequent in each part, up to one example. Scores are drawn at random.

    Args:
        sizes: part -> number of examples; ``train`` marks other words than all other parts.
    """
    task = TASKS[name]
    labels = task.labels or ("",)
    rng = Random(f"demo|{name}|{seed}")
    held_out, seen = held_out_words(seed), set()
    all_words = frozenset(form for words in WORDS.values() for forms in words for form in forms)
    parts: dict[str, list[Example]] = {}
    for part, size in sizes.items():
        words = all_words - held_out if part == "train" else held_out
        examples: list[Example] = []
        while len(examples) < size:
            example = task.example(Draw(rng, labels[len(examples) % len(labels)], words))
            if example.texts not in seen and len(set(example.texts)) == len(example.texts):
                seen.add(example.texts)
                examples.append(example)
        rng.shuffle(examples)
        parts[part] = examples
    return parts


def _acceptability(one: Draw) -> Example:
    while True:
        sentence = draw(one.rng, lambda drawn: AMBIGUOUS_VERB not in verbs_of(drawn))
        clauses = clauses_in_order(sentence, draw_style(one.rng, sentence))
        if any(map(breaks_of, clauses)):
            break
    if one.label == "unacceptable":
        clauses = broken(one.rng, clauses)
    return Example((written(clauses),), one.label)


def _similarity(one: Draw) -> Example:
    texts, score = sentence_pairs.similarity(one.rng)
    return Example(texts, f"{score:.3f}")


def _entailment(one: Draw) -> Example:
    premise, hypothesis = entailment.entailment(one.rng, one.label)
    texts = (
        english(premise, entailment.premise_style(one.rng, premise)),
        english(hypothesis, draw_style(one.rng, hypothesis)),
    )
    return Example(texts, one.label)


def _one_sentence(draw_text: Callable[[Random, str], str]) -> Callable[[Draw], Example]:
    return lambda one: Example((draw_text(one.rng, one.label),), one.label)


def _clause_task(
    draw_sentence: Callable[[Random, str], clause_tasks.Drawn],
) -> Callable[[Draw], Example]:
    def draw_text(rng: Random, label: str) -> str:
        sentence, moved = draw_sentence(rng, label)
        return english(sentence, Style(moved=moved))

    return _one_sentence(draw_text)


TASKS = {
    "acceptability": EncoderTask("sentence", ("unacceptable", "acceptable"), "mcc", _acceptability),
    "agreement": EncoderTask(
        "sentence", clause_tasks.NUMBERS, "accuracy", _clause_task(clause_tasks.number)
    ),
    "tense": EncoderTask(
        "sentence", clause_tasks.FORMS, "accuracy", _clause_task(clause_tasks.tense)
    ),
    "pos": EncoderTask(
        "marked word",
        marked_words.CLASSES,
        "accuracy",
        lambda one: Example((marked_words.part_of_speech(*one),), one.label),
    ),
    "role": EncoderTask(
        "marked word", marked_words.ROLES, "accuracy", _one_sentence(marked_words.role)
    ),
    "paraphrase": EncoderTask(
        "pair",
        ("different", "same"),
        "f1",
        lambda one: Example(sentence_pairs.paraphrase(one.rng, one.label), one.label),
    ),
    "entailment": EncoderTask("pair", entailment.LABELS, "accuracy", _entailment),
    "similarity": EncoderTask("score", (), "pearson", _similarity),
}
