"""Single sentences of two clauses that differ: what is said of the main clause?"""

from __future__ import annotations

from random import Random

from fairseq_lottery.demo.lexicon import MODALS
from fairseq_lottery.demo.meanings.meaning import Sentence, draw

NUMBERS = ("singular", "plural")
FORMS = ("present", "perfect", "modal")
#: a sentence, and whether its subordinate clause comes first
Drawn = tuple[Sentence, bool]
_MODALS = tuple(row[0] for row in MODALS)


def number(rng: Random, label: str) -> Drawn:
    """Draw a sentence whose main clause has a subject of this number, the other clause not."""
    wanted = label == "plural"

    def accepts(sentence: Sentence) -> bool:
        sub = sentence.sub
        return sub is not None and sentence.main.subject.plural is wanted is not sub.subject.plural

    return _either_order(rng, draw(rng, accepts))


def tense(rng: Random, label: str) -> Drawn:
    """Draw a sentence whose main clause has a verb in this form, and the other clause not."""
    sentence = draw(rng, lambda one: one.sub is not None and one.conjunction != "that")
    assert sentence.sub is not None
    other = rng.choice([form for form in FORMS if form != label])
    forms = [rng.choice(_MODALS) if form == "modal" else form for form in (label, other)]
    main, sub = (
        clause._replace(form=form) for clause, form in zip((sentence.main, sentence.sub), forms)
    )
    return _either_order(rng, sentence._replace(main=main, sub=sub))


def _either_order(rng: Random, sentence: Sentence) -> Drawn:
    return sentence, sentence.conjunction != "that" and rng.random() < 0.5
