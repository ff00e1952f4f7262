"""Write the labels of the demo's text: CoNLL-U of each language, and the alignment of words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from fairseq_lottery.demo.language import LabelledPair, labelled_pairs
from fairseq_lottery.demo.words import Words, text
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines, refuse_missing, replacing

LANGUAGES = ("en", "de")
#: most bytes of a part's text
_LARGEST = 1 << 28


def heads_of(words: Words) -> list[int]:
    """Return the number of the head of each word, from 0; -1 for the root."""
    places = _places(words)
    return [places[word.head] if word.head else -1 for word in words]


def agreements(words: Words) -> list[tuple[int, int]]:
    """Return (subject, finite verb) of each clause, as numbers of words from 0."""
    places = _places(words)
    return [
        (number, places.get(f"{word.clause}.finite", places[f"{word.clause}.verb"]))
        for number, word in enumerate(words)
        if word.relation == "nsubj"
    ]


def alignment(english: Words, german: Words) -> list[tuple[int, int]]:
    """Return the sorted pairs of words, from 0, that are translations of each other."""
    return [
        (i, j)
        for i, word in enumerate(english)
        for j, translation in enumerate(german)
        if not set(word.meanings).isdisjoint(translation.meanings)
    ]


def conllu(name: str, words: Words) -> str:
    """Return a sentence in CoNLL-U, whose words keep their punctuation.

    MISC has ``Clause`` (main or sub), and for a subject ``Agreement``, the number of its finite
    verb.
    """
    finite = dict(agreements(words))
    lines = [f"# sent_id = {name}", f"# text = {text(words)}"]
    for number, (word, head) in enumerate(zip(words, heads_of(words))):
        agreement = f"Agreement={finite[number] + 1}|" if number in finite else ""
        cells = (
            number + 1, word.text, "_", word.pos, "_", word.features or "_", head + 1,
            word.relation, "_", f"{agreement}Clause={word.clause}",
        )  # fmt: skip
        lines.append("\t".join(map(str, cells)))
    return "\n".join(lines) + "\n\n"


def agreement_pairs(words: Words) -> str:
    """Return lines ``subject TAB finite verb TAB label`` and a blank line; words count from 0.

    The label is person and number of the subject, such as ``3Sing``.
    """
    lines = []
    for subject, verb in agreements(words):
        labels = dict(one.split("=") for one in words[subject].features.split("|"))
        lines.append(f"{subject}\t{verb}\t{labels.get('Person', '3')}{labels['Number']}\n")
    return "".join(lines) + "\n"


def write_labels(folder: Path, seed: int, sizes: Mapping[str, int]) -> None:
    """Write the labels of the text that ``language`` wrote with the same seed and sizes.

    Each part gets ``PART.en.conllu``, ``PART.de.conllu``, ``PART.en.agreement``,
    ``PART.de.agreement`` (pairs of words) and ``PART.align`` (``i-j`` pairs from 0, English first).

    Raises:
        LotteryError: a text has other sentences.
    """
    with ExitStack() as stack:
        files = {}
        for part in sizes:
            for name in ("en.conllu", "de.conllu", "en.agreement", "de.agreement", "align"):
                temporary = stack.enter_context(replacing(folder / f"{part}.{name}"))
                files[part, name] = stack.enter_context(open(temporary, "w", encoding="utf-8"))
        texts = {part: _texts(folder, part) for part in sizes}
        counts = dict.fromkeys(sizes, 0)
        for part, pair in labelled_pairs(seed, sizes):
            counts[part] += 1
            _refuse_other_text(folder / part, counts[part], pair, next(texts[part], None))
            for language, words in zip(LANGUAGES, pair):
                files[part, f"{language}.conllu"].write(conllu(f"{part}-{counts[part]}", words))
                files[part, f"{language}.agreement"].write(agreement_pairs(words))
            links = " ".join(f"{i}-{j}" for i, j in alignment(*pair))
            files[part, "align"].write(f"{links}\n")


def _places(words: Words) -> dict[str, int]:
    """Return the number of the first word that has each meaning first."""
    places: dict[str, int] = {}
    for number, word in enumerate(words):
        places.setdefault(word.meanings[0], number)
    return places


def _texts(folder: Path, part: str) -> Iterator[tuple[str, ...]]:
    """Yield the lines of both languages."""
    paths = [folder / f"{part}.{language}" for language in LANGUAGES]
    refuse_missing(*paths)
    return zip(*(read_lines(path, _LARGEST) for path in paths))


def _refuse_other_text(path: Path, number: int, pair: LabelledPair, lines: object) -> None:
    if lines != tuple(map(text, pair)):
        raise LotteryError(
            f"line {number} of {path}.en or {path}.de is not a sentence of this seed; remove the"
            " folder of the demo, or give its seed"
        )
