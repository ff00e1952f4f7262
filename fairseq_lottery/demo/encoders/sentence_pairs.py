"""Pairs of sentences: do they say the same, and how much of it?"""

from __future__ import annotations

from random import Random

from fairseq_lottery.demo.meanings.changes import definite, other_words, rearrangements, slots
from fairseq_lottery.demo.meanings.meaning import Sentence, draw
from fairseq_lottery.demo.meanings.styles import draw_style, english, styles_of

Pair = tuple[str, str]
#: how similar sentences are: from nothing in common to the same meaning
HIGHEST = 5.0


def paraphrase(rng: Random, label: str) -> Pair:
    """Draw a sentence and the same in another style (``same``), or a sentence of other meaning.

    Sentences of other meaning have other words in one to three places, or, of those that can be
    rearranged, every third has the same words in other places.
    """
    sentence = draw(rng, lambda drawn: _is_short(drawn) and len(styles_of(drawn)) > 1)
    sentence = sentence._replace(main=definite(sentence.main))
    other = sentence
    if label == "different":
        rearranged = rearrangements(sentence.main) if rng.random() < 1 / 3 else []
        if rearranged:
            changed = rng.choice(rearranged)
        else:
            places = slots(sentence.main)
            changed = other_words(rng, sentence.main, rng.randint(1, min(3, len(places))))
        other = sentence._replace(main=changed)
    style = draw_style(rng, sentence)
    styles = [one for one in styles_of(other) if one != style]
    return english(sentence, style), english(other, rng.choice(styles))


def similarity(rng: Random) -> tuple[Pair, float]:
    """Draw two sentences and their score, the share of equal content words in equal places."""
    sentence = draw(rng, lambda drawn: _is_short(drawn) and len(slots(drawn.main)) > 3)
    places = slots(sentence.main)
    changed = rng.randint(0, len(places))
    other = sentence._replace(main=other_words(rng, sentence.main, changed))
    texts = english(sentence, draw_style(rng, sentence)), english(other, draw_style(rng, other))
    return texts, HIGHEST * (1 - changed / len(places))


def _is_short(sentence: Sentence) -> bool:
    return sentence.sub is None and len(english(sentence).split()) <= 14
