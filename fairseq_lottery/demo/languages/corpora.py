"""Draw the text of the languages: parallel sentences, documents and examples of entailment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random

from fairseq_lottery.demo.encoders.documents import negated, retold
from fairseq_lottery.demo.encoders.entailment import LABELS, entailment
from fairseq_lottery.demo.languages.grammar import say
from fairseq_lottery.demo.languages.language_table import HUB, LANGUAGES, SHARES
from fairseq_lottery.demo.meanings.meaning import Sentence, draw
from fairseq_lottery.demo.meanings.styles import Style, english
from fairseq_lottery.demo.text_files import Example

CODES = (HUB, *LANGUAGES)


def text_in(code: str, sentence: Sentence, moved: bool) -> str:
    """Return a sentence in English or an invented language."""
    return english(sentence, Style(moved=moved)) if code == HUB else say(code, sentence, moved)


def parallel(seed: int, sizes: Mapping[str, int]) -> Iterator[tuple[str, dict[str, str]]]:
    """Draw the same sentences in all languages; no two sentences are equal in any language.

    Yields:
        the name of a part, and language -> sentence.
    """
    rng = Random(f"demo|parallel|{seed}")
    seen: set[tuple[str, str]] = set()
    for part, size in sizes.items():
        count = 0
        while count < size:
            sentence, moved = negated(rng, draw(rng)), _moved(rng)
            texts = {code: text_in(code, sentence, moved) for code in CODES}
            if seen.isdisjoint(texts.items()):
                seen.update(texts.items())
                count += 1
                yield part, texts


def documents(seed: int, count: int) -> Iterator[list[str]]:
    """Draw documents of two sentences, which say the same or nearly so.

    Half of the documents are in one language, and half in two. Languages with more training text
    have more documents.
    """
    rng = Random(f"demo|documents of languages|{seed}")
    weights = [1.0, *(SHARES[language.size] for language in LANGUAGES.values())]
    for _ in range(count):
        first = negated(rng, draw(rng))
        second, _ = retold(rng, first)
        (code,) = rng.choices(CODES, weights)
        if rng.random() < 0.5:
            other = rng.choice([one for one in CODES if one != code])
        else:
            other = code
        yield [text_in(code, first, _moved(rng)), text_in(other, second, _moved(rng))]


def examples(seed: int, sizes: Mapping[str, int]) -> Iterator[tuple[str, dict[str, Example]]]:
    """Draw balanced examples of entailment, the same in each language.

    Yields:
        the name of a part, and language -> example.
    """
    rng = Random(f"demo|entailment in languages|{seed}")
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for part, size in sizes.items():
        labels = [LABELS[number % len(LABELS)] for number in range(size)]
        rng.shuffle(labels)
        while labels:
            label = labels[-1]
            pair = entailment(rng, label)
            moved = tuple(_moved(rng) for _ in pair)
            texts = {
                code: tuple(text_in(code, one, last) for one, last in zip(pair, moved))
                for code in CODES
            }
            if seen.isdisjoint(texts.items()) and all(len(set(two)) == 2 for two in texts.values()):
                seen.update(texts.items())
                labels.pop()
                yield part, {code: Example(two, label) for code, two in texts.items()}


def _moved(rng: Random) -> bool:
    return rng.random() < 0.5
