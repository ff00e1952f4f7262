"""Text to pre-train an encoder on: short documents whose sentences speak of the same things."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from fairseq_lottery.demo.meanings.changes import other_words, rearrangements, slots
from fairseq_lottery.demo.meanings.meaning import Clause, Sentence, draw
from fairseq_lottery.demo.meanings.styles import clauses_in_order, draw_style, written

#: shares of clauses that are negated, and of sentences with a marked word
NEGATED, MARKED = 0.15, 0.05


def documents(seed: int, count: int) -> Iterator[list[str]]:
    """Draw documents of two or three sentences.

    Each further sentence says the first one again, with as many other words as chance decides, or
    one clause of it.
    """
    rng = Random(f"demo|documents|{seed}")
    for _ in range(count):
        first = negated(rng, draw(rng))
        sentences = [first]
        for _ in range(rng.choice((1, 1, 2))):
            sentences.append(retold(rng, first))
        yield [_text(rng, sentence) for sentence in sentences]


def retold(rng: Random, sentence: Sentence) -> Sentence:
    """Return the sentence, or one clause of it, with as many other words as chance decides."""
    if sentence.sub is not None and rng.random() < 0.4:
        is_stated = sentence.conjunction == "that" or rng.random() < 0.5
        sentence = Sentence(sentence.sub if is_stated else sentence.main)
    kind = rng.random()
    clause = sentence.main
    if kind < 0.3:
        clause = other_words(rng, clause, rng.randint(1, len(slots(clause))))
    elif kind < 0.45:
        clause = rng.choice(rearrangements(clause) or [clause])
    elif kind < 0.6:
        clause = clause._replace(negated=not clause.negated)
    return sentence._replace(main=clause)


def negated(rng: Random, sentence: Sentence) -> Sentence:
    """Return the sentence with each clause denied with probability ``NEGATED``."""

    def clause(one: Clause) -> Clause:
        return one._replace(negated=rng.random() < NEGATED)

    return sentence._replace(
        main=clause(sentence.main), sub=clause(sentence.sub) if sentence.sub else None
    )


def _text(rng: Random, sentence: Sentence) -> str:
    clauses = clauses_in_order(sentence, draw_style(rng, sentence))
    mark = rng.randrange(sum(map(len, clauses))) if rng.random() < MARKED else -1
    return written(clauses, mark)
