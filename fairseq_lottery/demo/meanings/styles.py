"""``Style``: the ways to say the same sentence in English."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import NamedTuple

from fairseq_lottery.demo.meanings.english import (
    Token,
    Tokens,
    can_be_passive,
    can_be_shifted,
    clause_tokens,
)
from fairseq_lottery.demo.meanings.meaning import Sentence


class Style(NamedTuple):
    """Choices that leave the meaning as it is; the default is a style of the demo's text.

    Attributes:
        passive: whether the main clause is in the passive.
        shifted: whether its receiver comes before the thing.
        sub_passive: whether the subordinate clause is in the passive.
        sub_shifted: whether its receiver comes before the thing.
        moved: whether the adverb is last, or the subordinate clause first.
    """

    passive: bool = False
    shifted: bool = False
    sub_passive: bool = False
    sub_shifted: bool = False
    moved: bool = False


#: the style of the demo's text, with its subordinate clauses last
PLAIN = Style()


def styles_of(sentence: Sentence) -> list[Style]:
    """Return all styles that make different texts of the sentence."""
    main, sub = sentence.main, sentence.sub
    choices = [
        *((False, True) if clause is not None and can(clause) else (False,)
          for clause in (main, sub) for can in (can_be_passive, can_be_shifted)),
        (False, True) if sentence.adverb or sentence.conjunction not in ("", "that") else (False,),
    ]  # fmt: skip
    styles = [Style(*choice) for choice in product(*choices)]
    return [
        style
        for style in styles
        if not (style.passive and style.shifted) and not (style.sub_passive and style.sub_shifted)
    ]


def draw_style(rng: Random, sentence: Sentence) -> Style:
    """Draw one of the styles of the sentence."""
    return rng.choice(styles_of(sentence))


def clauses_in_order(sentence: Sentence, style: Style = PLAIN) -> list[Tokens]:
    """Return the words of each clause; a clause in front of the main clause takes a comma."""
    main = clause_tokens(sentence.main, style.passive, style.shifted)
    if sentence.adverb:
        adverb = Token(sentence.adverb, "ADV", "adverb", "adverb")
        main = (*main, adverb) if style.moved else (adverb, *main)
    if sentence.sub is None:
        return [main]
    conjunction = Token(sentence.conjunction, "SCONJ", "conjunction", "conjunction")
    sub = (conjunction, *clause_tokens(sentence.sub, style.sub_passive, style.sub_shifted))
    return [sub, main] if style.moved else [main, sub]


def written(clauses: list[Tokens], mark: int = -1) -> str:
    """Return the text of clauses: a capital, a full stop, and a comma if the first is subordinate.

    Args:
        mark: number of the word, over all clauses, that ``MARK`` is written before.
    """
    words: list[str] = []
    count = sum(map(len, clauses))
    for clause in clauses:
        for number, token in enumerate(clause):
            place = len(words)
            text = token.text if place else token.text[0].upper() + token.text[1:]
            if place == count - 1:
                text += "."
            elif number == len(clause) - 1 and _is_subordinate(clauses[0]):
                text += ","
            words.append(text)
    if mark >= 0:
        words[mark] = f"{MARK} {words[mark]}"
    return " ".join(words)


def _is_subordinate(clause: Tokens) -> bool:
    return any(token.part == "conjunction" for token in clause)


def english(sentence: Sentence, style: Style = PLAIN) -> str:
    """Return the English text of a sentence."""
    return written(clauses_in_order(sentence, style))


#: symbol before a marked word
MARK = "*"
