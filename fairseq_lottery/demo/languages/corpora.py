"""Draw the text of the languages: parallel sentences, documents and examples of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from fairseq_lottery.demo.encoders import clause_tasks
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


def examples(
    task: str, seed: int, sizes: Mapping[str, int]
) -> Iterator[tuple[str, dict[str, Example]]]:
    """Draw balanced examples of a task in ``TASKS``, the same in each language.

    Yields:
        the name of a part, and language -> example.
    """
    labels_of_task, draw_sentences = TASKS[task]
    rng = Random(f"demo|{task} in languages|{seed}")
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for part, size in sizes.items():
        labels = [labels_of_task[number % len(labels_of_task)] for number in range(size)]
        rng.shuffle(labels)
        while labels:
            label = labels[-1]
            drawn = draw_sentences(rng, label)
            texts = {code: tuple(text_in(code, *one) for one in drawn) for code in CODES}
            if seen.isdisjoint(texts.items()) and all(
                len(set(one)) == len(one) for one in texts.values()
            ):
                seen.update(texts.items())
                labels.pop()
                yield part, {code: Example(one, label) for code, one in texts.items()}


def _entailment(rng: Random, label: str) -> list[clause_tasks.Drawn]:
    pair = entailment(rng, label)
    return [(one, _moved(rng)) for one in pair]


def _moved(rng: Random) -> bool:
    return rng.random() < 0.5


#: task -> its labels, and what draws the sentences of an example with a label
TASKS: dict[str, tuple[tuple[str, ...], Callable[[Random, str], Sequence[clause_tasks.Drawn]]]] = {
    "entailment": (LABELS, _entailment),
    "agreement": (clause_tasks.NUMBERS, lambda rng, label: [clause_tasks.number(rng, label)]),
    "tense": (clause_tasks.FORMS, lambda rng, label: [clause_tasks.tense(rng, label)]),
}
