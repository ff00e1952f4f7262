"""Draw sentences and parallel corpora, which depend only on the seed.

As a program it is the first stage of the demo: it writes the text, one sentence per line.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

from fairseq_lottery.demo.clauses import draw_clause, draw_subject
from fairseq_lottery.demo.lexicon import ADVERBS, CONJUNCTIONS, SAYING
from fairseq_lottery.demo.words import Word, Words, in_clause, in_role, text

Pair = tuple[str, str]  # an English sentence and its German translation
LabelledPair = tuple[Words, Words]


def draw_sentence(rng: Random) -> LabelledPair:
    """Draw one sentence and its translation."""
    kind = rng.random()
    if kind < 0.25:
        clause = draw_clause(rng)
        return _finish(_main(clause.english), _main(clause.verb_second()))
    if kind < 0.5:
        adverb, clause = rng.choice(ADVERBS), draw_clause(rng)
        english, german = (_word(form, "ADV", "adverb", "advmod") for form in adverb)
        return _finish(_main(english + clause.english), _main(clause.verb_second(german)))
    if kind < 0.65:
        return _that_clause(rng)
    conjunction, main, sub = rng.choice(CONJUNCTIONS), draw_clause(rng), draw_clause(rng)
    english, german = (_word(form, *_CONJUNCTION) for form in conjunction)
    english_main, english_sub = _main(main.english), in_clause(english + sub.english, *_ADVERBIAL)
    german_sub = in_clause(sub.verb_final(german), *_ADVERBIAL)
    if kind < 0.85:
        return _finish(english_main + english_sub, _comma(_main(main.verb_second())) + german_sub)
    # after a clause the main verb comes before its subject
    verb_first = _main(main.verb_second(_FRONT)[len(_FRONT) :])
    return _finish(_comma(english_sub) + english_main, _comma(german_sub) + verb_first)


def labelled_pairs(seed: int, sizes: Mapping[str, int]) -> Iterator[tuple[str, LabelledPair]]:
    """Draw the pairs of the named parts, with the labels of each word.

    All sentences of each language are different.

    Yields:
        the name of a part, and a pair.
    """
    rng = Random(seed)
    seen_english, seen_german = set(), set()
    for name, size in sizes.items():
        count = 0
        while count < size:
            pair = draw_sentence(rng)
            english, german = map(text, pair)
            if english not in seen_english and german not in seen_german:
                seen_english.add(english)
                seen_german.add(german)
                count += 1
                yield name, pair


def corpus(seed: int, sizes: Mapping[str, int]) -> dict[str, list[Pair]]:
    """Draw the text of the named parts."""
    parts: dict[str, list[Pair]] = {name: [] for name in sizes}
    for name, (english, german) in labelled_pairs(seed, sizes):
        parts[name].append((text(english), text(german)))
    return parts


#: clause and relation of its verb
_ADVERBIAL, _COMPLEMENT = ("sub", "advcl"), ("sub", "ccomp")
#: part of speech, meaning and relation
_CONJUNCTION = ("SCONJ", "conjunction", "mark")
#: a phrase in front, which makes the verb precede its subject
_FRONT = (Word("", "X", (), "", ""),)


def _main(words: Words) -> Words:
    return in_clause(words, "main", "root")


def _word(form: str, pos: str, meaning: str, relation: str) -> Words:
    return (Word(form, pos, (meaning,), "verb", relation),)


def _that_clause(rng: Random) -> LabelledPair:
    subject, (base, third, ich, er, plural) = draw_subject(rng), rng.choice(SAYING)
    clause = draw_clause(rng)
    forms = (
        third if subject.person == "er" else base,
        {"ich": ich, "er": er, "pl": plural}[subject.person],
    )
    english, german = (
        _main(
            (
                *in_role(words, "subject", "nsubj"),
                Word(form, "VERB", ("verb",), "", "", f"{subject.agreement}|VerbForm=Fin"),
            )
        )
        for form, words in zip(forms, (subject.english, subject.german("nom")))
    )
    return _finish(
        english + in_clause(_word("that", *_CONJUNCTION) + clause.english, *_COMPLEMENT),
        _comma(german) + in_clause(clause.verb_final(_word("dass", *_CONJUNCTION)), *_COMPLEMENT),
    )


def _comma(words: Words) -> Words:
    return (*words[:-1], words[-1]._replace(text=f"{words[-1].text},"))


def _finish(*sentences: Words) -> LabelledPair:
    """Capitalise the first letter and add a full stop."""
    english, german = (
        (first._replace(text=first.text[0].upper() + first.text[1:]), *rest)
        for first, *rest in sentences
    )
    return tuple(
        (*words[:-1], words[-1]._replace(text=f"{words[-1].text}.")) for words in (english, german)
    )  # type: ignore[return-value]


def main() -> None:
    """Write PART.en and PART.de for every part of the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--sizes", nargs="+", required=True, metavar="PART=SENTENCES")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sizes = {name: int(size) for name, size in (part.split("=") for part in args.sizes)}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, pairs in corpus(args.seed, sizes).items():
        for language, sentences in zip(("en", "de"), zip(*pairs)):
            path = args.out / f"{name}.{language}"
            path.write_text("".join(f"{line}\n" for line in sentences), encoding="utf-8")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
