"""Label parallel text with taggers that need no download: parts of speech, chunks, alignment.

    pip install textblob==0.20.1 HanTa==1.2.1 eflomal==2.0.0 numpy
    python examples/analysis/labels.py DATA OUT

DATA has train.en, train.de, valid.en and valid.de, one sentence per line. OUT gets, for valid:
en.pos and en.chunk (TextBlob's tagger and chunker), de.pos (HanTa), and align (eflomal, trained on
train and valid, links of both directions). The taggers make errors, and so the labels have them. A
word keeps its punctuation, as in the text, and has the label of its first part with a letter or
digit.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

#: a word with its punctuation, as parts: letters and digits, or one other mark
PARTS = re.compile(r"\w+(?:['’.-]\w+)*|[^\w\s]")


def main() -> None:
    """Write the four files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    names = [f"{part}.{language}" for part in ("train", "valid") for language in ("en", "de")]
    for name in names:
        if not (args.data / name).is_file():
            sys.exit(f"there is no {args.data / name}; DATA has {', '.join(names)}")
    text = {name: read(args.data / name) for name in names}
    args.out.mkdir(parents=True, exist_ok=True)
    english, german = text["valid.en"], text["valid.de"]
    tags = [tag_english(words) for words in english]
    write_tags(args.out / "en.pos", english, [[pos for pos, _ in row] for row in tags])
    write_tags(args.out / "en.chunk", english, [[chunk for _, chunk in row] for row in tags])
    write_tags(args.out / "de.pos", german, tag_german(german))
    links = align(text["train.en"] + english, text["train.de"] + german)[-len(english) :]
    (args.out / "align").write_text("".join(f"{line}\n" for line in links), encoding="utf-8")


def read(file: Path) -> list[list[str]]:
    """Return the words of each line."""
    return [line.split() for line in file.read_text(encoding="utf-8").splitlines()]


def split(words: list[str]) -> tuple[list[str], list[int]]:
    """Return the parts of words, and the position of the part that labels each word."""
    parts: list[str] = []
    labelled = []
    for word in words:
        own = PARTS.findall(word)
        first = next((i for i, part in enumerate(own) if part[0].isalnum()), 0)
        labelled.append(len(parts) + first)
        parts += own
    return parts, labelled


def tag_english(words: list[str]) -> list[tuple[str, str]]:
    """Return part of speech (Penn) and chunk (BIO) of each word."""
    from textblob.en import parse

    parts, labelled = split(words)
    rows = parse(" ".join(parts), tokenize=False).replace("\n", " ").split(" ")
    if len(rows) != len(parts):
        sys.exit(f"the tagger split {' '.join(words)} into other words")
    tags = [row.rsplit("/", 3)[1:3] for row in rows]
    return [(tags[i][0], tags[i][1]) for i in labelled]


def tag_german(sentences: list[list[str]]) -> list[list[str]]:
    """Return the part of speech (STTS, shortened) of each word."""
    from HanTa.HanoverTagger import HanoverTagger

    tagger = HanoverTagger("morphmodel_ger.pgz")
    tags = []
    for words in sentences:
        parts, labelled = split(words)
        found = [pos for _, _, pos in tagger.tag_sent(parts)]
        tags.append([found[i] for i in labelled])
    return tags


def align(source: list[list[str]], target: list[list[str]]) -> list[str]:
    """Return the links i-j that both directions have, of each pair of sentences."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, sentences in (("source", source), ("target", target)):
            lines = (" ".join(map(lowered, words)) for words in sentences)
            (place / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        subprocess.run(
            [Path(sys.executable).with_name("eflomal-align"), "--overwrite", "-m", "3",
             "-s", "source", "-t", "target", "-f", "forward", "-r", "reverse"],
            cwd=place, check=True,
        )  # fmt: skip
        forward, reverse = (
            [set(line.split()) for line in (place / name).read_text().splitlines()]
            for name in ("forward", "reverse")
        )
    return [" ".join(sorted(a & b, key=numbers)) for a, b in zip(forward, reverse)]


def lowered(word: str) -> str:
    """Return the word in lowercase without its punctuation, if letters or digits are left."""
    return re.sub(r"^\W+|\W+$", "", word.lower()) or word


def numbers(link: str) -> list[int]:
    """Return the two numbers of a link."""
    return [int(number) for number in link.split("-")]


def write_tags(file: Path, sentences: list[list[str]], tags: list[list[str]]) -> None:
    """Write word TAB label, with a blank line after each sentence."""
    blocks = (
        "".join(f"{word}\t{tag}\n" for word, tag in zip(words, own))
        for words, own in zip(sentences, tags)
    )
    file.write_text("\n".join(blocks), encoding="utf-8")


if __name__ == "__main__":
    main()
