"""Text to pre-train an encoder on: short documents whose sentences speak of the same things."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from fairseq_lottery.demo.meanings.changes import other_words, rearrangements, slots
from fairseq_lottery.demo.meanings.english import Token
from fairseq_lottery.demo.meanings.meaning import Clause, Sentence, draw
from fairseq_lottery.demo.meanings.styles import clauses_in_order, draw_style, written

#: shares of clauses that are negated, of sentences with a marked word, and of further sentences
#: that begin with "again", "perhaps" (only one clause), "instead" (other words) or "but" (denied)
NEGATED, MARKED, CONNECTED = 0.15, 0.05, 0.7


def documents(seed: int, count: int) -> Iterator[list[str]]:
    """Draw documents of one to three sentences.

    Each further sentence says the first one again, or one clause of it, possibly with other words,
    and often begins with a word for this relation. Documents of one sentence teach the grammar: no
    other sentence tells their masked words.
    """
    rng = Random(f"demo|documents|{seed}")
    for _ in range(count):
        further = rng.choice((0, 0, 1, 1, 2))
        first = draw(rng, _is_short if further and rng.random() < 0.7 else _is_any)
        first = negated(rng, first)
        texts = [_text(rng, first)]
        for _ in range(further):
            second, relation = retold(rng, first)
            texts.append(_text(rng, second, relation if rng.random() < CONNECTED else ""))
        yield texts


def retold(rng: Random, sentence: Sentence) -> tuple[Sentence, str]:
    """Return the sentence or one clause of it, possibly with other words, and the relation."""
    relation = "again"
    if sentence.sub is not None and rng.random() < 0.4:
        is_stated = sentence.conjunction == "that" or rng.random() < 0.5
        sentence, relation = Sentence(sentence.sub if is_stated else sentence.main), "perhaps"
    kind = rng.random()
    clause = sentence.main
    if kind < 0.25:
        clause = other_words(rng, clause, rng.randint(1, len(slots(clause))))
    elif kind < 0.4:
        clause = rng.choice(rearrangements(clause) or [other_words(rng, clause, 1)])
    elif kind < 0.55:
        clause = clause._replace(negated=not clause.negated)
    if clause != sentence.main:
        relation = "but" if clause.negated is not sentence.main.negated else "instead"
    return sentence._replace(main=clause), relation


def negated(rng: Random, sentence: Sentence) -> Sentence:
    """Return the sentence with each clause denied with probability ``NEGATED``."""

    def clause(one: Clause) -> Clause:
        return one._replace(negated=rng.random() < NEGATED)

    return sentence._replace(
        main=clause(sentence.main), sub=clause(sentence.sub) if sentence.sub else None
    )


def _is_short(sentence: Sentence) -> bool:
    return sentence.sub is None


def _is_any(sentence: Sentence) -> bool:
    return True


def _text(rng: Random, sentence: Sentence, relation: str = "") -> str:
    first, *rest = clauses_in_order(sentence, draw_style(rng, sentence))
    if relation:
        first = (Token(relation, "ADV", "relation", "relation"), *first)
    count = sum(map(len, (first, *rest)))
    mark = rng.randrange(count) if rng.random() < MARKED else -1
    return written([first, *rest], mark)
