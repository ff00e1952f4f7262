"""Pairs of premise and hypothesis: does it follow, is it denied, or is it open?

All noun phrases are definite or pronouns, so a sentence and its negation contradict each other.
"""

from __future__ import annotations

from random import Random

from fairseq_lottery.demo.meanings.changes import definite, other_word, rearrangements, slots
from fairseq_lottery.demo.meanings.meaning import ROLES, Clause, NounPhrase, Sentence, draw
from fairseq_lottery.demo.meanings.styles import Style, draw_style

LABELS = ("entailment", "neutral", "contradiction")
#: both clauses of a sentence with these conjunctions are true
_FACTUAL = ("because", "although")
#: neither clause of "if", and what someone says, believes or hopes, need not be true
_REPORTS = ("say", "believe", "hope")
#: a king is a man: a sentence about a man may follow from one about another person
_GENERAL = ("man", "woman", "child")


def entailment(rng: Random, label: str) -> tuple[Sentence, Sentence]:
    """Draw premise and hypothesis with this label."""
    is_open = label == "neutral" and rng.random() < 0.3
    premise, stated = _premise(rng, is_open)
    if label == "entailment":
        return premise, _weaker(rng, premise, stated)
    if label == "contradiction":
        # a negated premise denies only what it says; a weaker clause may still be true
        hypothesis = Sentence(stated, premise.adverb) if stated.negated else _weaker(
            rng, premise, stated
        )  # fmt: skip
        return premise, _denied(hypothesis)
    hypothesis = _weaker(rng, premise, stated)
    if not is_open:
        hypothesis = hypothesis._replace(main=_elsewhere(rng, stated, hypothesis.main))
    return premise, _denied(hypothesis) if rng.random() < 0.5 else hypothesis


def premise_style(rng: Random, premise: Sentence) -> Style:
    """Draw a style in which a negation does not also deny the reason that follows it."""
    style = draw_style(rng, premise)
    if premise.conjunction == "because" and premise.main.negated:
        style = style._replace(moved=True)
    return style


def _premise(rng: Random, is_open: bool) -> tuple[Sentence, Clause]:
    """Draw a sentence, and its clause that the hypothesis repeats: a true one, unless open."""

    def accepts(sentence: Sentence) -> bool:
        if sentence.sub is None:
            return not is_open
        if sentence.conjunction == "that":
            return is_open is (sentence.main.verb in _REPORTS)
        return sentence.conjunction == "if" if is_open else sentence.conjunction in _FACTUAL

    sentence = draw(rng, accepts)
    sentence = sentence._replace(main=definite(sentence.main))
    if sentence.sub is not None:
        sentence = sentence._replace(sub=definite(sentence.sub))
    repeats_main = sentence.sub is None or (sentence.conjunction != "that" and rng.random() < 0.5)
    negated = rng.random() < 0.5
    if repeats_main:
        stated = sentence.main._replace(negated=negated)
        return sentence._replace(main=stated), stated
    assert sentence.sub is not None
    stated = sentence.sub._replace(negated=negated)
    return sentence._replace(sub=stated), stated


def _weaker(rng: Random, premise: Sentence, stated: Clause) -> Sentence:
    """Return a clause of the premise, without some details unless it is negated."""
    if stated.negated:
        return Sentence(stated, premise.adverb)
    adverb = premise.adverb if rng.random() < 0.5 else ""
    if stated.adjunct is not None and rng.random() < 0.5:
        stated = stated._replace(adjunct=None)
    changed = {role: _plainer(rng, phrase) for role, phrase in stated.phrases() if phrase.adjective}
    return Sentence(stated.with_phrases(changed), adverb)


def _plainer(rng: Random, phrase: NounPhrase) -> NounPhrase:
    return phrase._replace(adjective="") if rng.random() < 0.5 else phrase


def _denied(sentence: Sentence) -> Sentence:
    return sentence._replace(main=sentence.main._replace(negated=not sentence.main.negated))


def _elsewhere(rng: Random, stated: Clause, clause: Clause) -> Clause:
    """Return a clause about other people or things, or with their places exchanged.

    Verbs stay as they are: who lays something somewhere also puts it there.
    """
    while True:
        changed = rearrangements(clause) if rng.random() < 0.5 else []
        if not changed:
            places = [slot for slot in slots(clause) if slot[0] != "verb"]
            changed = [other_word(rng, clause, rng.choice(places))]
        other = rng.choice(changed)
        nouns = {phrase.noun for _, phrase in clause.phrases()}
        is_general = any(phrase.noun in _GENERAL and phrase.noun not in nouns
                         for _, phrase in other.phrases())  # fmt: skip
        if not is_general and not follows(stated, other):
            return other


def follows(stated: Clause, clause: Clause) -> bool:
    """Return whether a clause says the same as another one, or leaves details out."""
    if clause.with_phrases(dict.fromkeys(ROLES)) != stated.with_phrases(dict.fromkeys(ROLES)):
        return False
    phrases, kept = dict(stated.phrases()), dict(clause.phrases())
    left_out = phrases.keys() - kept.keys()
    return (
        kept.keys() <= phrases.keys()
        and left_out <= {"adjunct"}
        and all(
            kept[role] in (phrases[role], phrases[role]._replace(adjective="")) for role in kept
        )
    )
