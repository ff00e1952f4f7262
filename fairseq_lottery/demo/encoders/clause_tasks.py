"""Single sentences of two clauses that differ: what is said of the main clause?"""

from __future__ import annotations

from random import Random

from fairseq_lottery.demo.meanings.meaning import Clause, Sentence, draw
from fairseq_lottery.demo.meanings.styles import Style, english

NUMBERS = ("singular", "plural")
FORMS = ("present", "perfect", "modal")


def number(rng: Random, label: str) -> str:
    """Draw a sentence whose main clause has a subject of this number, the other clause not."""
    wanted = label == "plural"

    def accepts(sentence: Sentence) -> bool:
        sub = sentence.sub
        return sub is not None and sentence.main.subject.plural is wanted is not sub.subject.plural

    return _either_order(rng, draw(rng, accepts))


def tense(rng: Random, label: str) -> str:
    """Draw a sentence whose main clause has a verb in this form, and the other clause not."""
    other = rng.choice([form for form in FORMS if form != label])

    def accepts(sentence: Sentence) -> bool:
        sub = sentence.sub
        return (
            sub is not None
            and sentence.conjunction != "that"
            and (_form(sentence.main), _form(sub)) == (label, other)
        )

    return _either_order(rng, draw(rng, accepts))


def _form(clause: Clause) -> str:
    return clause.form if clause.form in FORMS else "modal"


def _either_order(rng: Random, sentence: Sentence) -> str:
    moved = sentence.conjunction != "that" and rng.random() < 0.5
    return english(sentence, Style(moved=moved))
