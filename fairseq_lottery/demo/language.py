"""Draw sentences and parallel corpora, which depend only on the seed.

As a program it is the first stage of the demo: it writes the text, one sentence per line.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

from fairseq_lottery.demo.clauses import draw_clause, draw_subject
from fairseq_lottery.demo.lexicon import ADVERBS, CONJUNCTIONS, SAYING

Pair = tuple[str, str]  # an English sentence and its German translation


def draw_sentence(rng: Random) -> Pair:
    """Draw one sentence and its translation."""
    kind = rng.random()
    if kind < 0.25:
        clause = draw_clause(rng)
        return _finish(clause.english, clause.verb_second())
    if kind < 0.5:
        (english, german), clause = rng.choice(ADVERBS), draw_clause(rng)
        return _finish(f"{english} {clause.english}", clause.verb_second(german))
    if kind < 0.65:
        return _that_clause(rng)
    (english, german), main, sub = rng.choice(CONJUNCTIONS), draw_clause(rng), draw_clause(rng)
    if kind < 0.85:
        return _finish(
            f"{main.english} {english} {sub.english}",
            f"{main.verb_second()}, {sub.verb_final(german)}",
        )
    # after a clause the main verb comes before its subject
    return _finish(
        f"{english} {sub.english}, {main.english}",
        main.verb_second(f"{sub.verb_final(german)},"),
    )


def corpus(seed: int, sizes: dict[str, int]) -> dict[str, list[Pair]]:
    """Draw the named parts; all sentences of each language are different."""
    rng = Random(seed)
    seen_english, seen_german = set(), set()
    parts: dict[str, list[Pair]] = {}
    for name, size in sizes.items():
        part = parts[name] = []
        while len(part) < size:
            english, german = draw_sentence(rng)
            if english not in seen_english and german not in seen_german:
                seen_english.add(english)
                seen_german.add(german)
                part.append((english, german))
    return parts


def _that_clause(rng: Random) -> Pair:
    subject, (base, third, ich, er, plural) = draw_subject(rng), rng.choice(SAYING)
    clause = draw_clause(rng)
    english = third if subject.person == "er" else base
    german = {"ich": ich, "er": er, "pl": plural}[subject.person]
    return _finish(
        f"{subject.english} {english} that {clause.english}",
        f"{subject.german['nom']} {german}, {clause.verb_final('dass')}",
    )


def _finish(english: str, german: str) -> Pair:
    """Capitalise the first letter and add a full stop."""
    return english[0].upper() + english[1:] + ".", german[0].upper() + german[1:] + "."


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
