"""The stages from archives to binary data of many pairs with one joined dictionary."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from preparation.binary import binarise
from preparation.ledger import Ledger, Stage, by_name
from preparation.many_languages.corpora import ENGLISH
from preparation.many_languages.extraction import pair_name
from preparation.pairs import Pair
from preparation.subwords import cut_set, cut_training, learn
from preparation.text import clean_set, clean_training

#: what trainings read; the rest may be deleted
RESULTS = ("references", "data-bin")
#: file with the languages in order, for ``--lang-dict``
LANGUAGES = "languages.txt"


@dataclass(frozen=True)
class Job:
    """Everything that the stages read.

    Attributes:
        languages: the languages besides English.
        write_raw: writes the pairs of all languages, and returns ``sentences``
            (pair -> set -> number) with the rest of the record.
        vocabulary: types of the joined dictionary.
        sample: sentences that the word pieces are learned on.
    """

    out: Path
    languages: Sequence[str]
    write_raw: Callable[[Path], dict[str, Any]]
    vocabulary: int
    sample: int
    workers: int
    ledger: Ledger

    def run(self) -> dict[str, dict[str, int]]:
        """Run the stages that are missing; return pair -> set -> number of pairs of sentences."""
        stages = by_name(
            Stage("raw", (), self.write_raw),
            Stage("references", ("raw",), self._references),
            Stage("text", ("raw",), self._text),
            Stage("subwords", ("text",), self._subwords),
            Stage("pieces", ("text", "subwords"), self._pieces),
            Stage("data-bin", ("pieces", "subwords"), self._data),
        )
        for name in RESULTS:
            self.ledger.ensure(stages, name)
        return dict(self.ledger.record("pieces")["sentences"])

    def _pairs(self) -> Iterator[tuple[str, Pair, dict[str, int]]]:
        """Yield the name of each pair, its languages, and set -> raw number of sentences."""
        sentences = self.ledger.record("raw")["sentences"]
        for language in self.languages:
            name = pair_name(language)
            yield name, (language, ENGLISH), sentences[name]

    def _references(self, folder: Path) -> dict[str, Any]:
        for name, pair, sets in self._pairs():
            for split in sets:
                for language in pair if split != "train" else ():
                    raw = self.out / "raw" / name / f"{split}.{language}"
                    shutil.copyfile(raw, folder / f"{split}.{name}.{language}")
        return {}

    def _text(self, folder: Path) -> dict[str, Any]:
        record = {}
        for name, pair, sets in self._pairs():
            raw, target = self.out / "raw" / name, folder / name
            target.mkdir()
            print(f"{name}:", flush=True)
            record[name] = clean_training(raw, ["train"], pair, target, self.workers)
            for split in sets:
                if split != "train":
                    clean_set(raw, split, pair, target, has_entities=False)
        return record

    def _subwords(self, folder: Path) -> dict[str, Any]:
        texts = [
            self.out / "text" / name / f"train.{language}"
            for name, pair, _ in self._pairs()
            for language in pair
        ]
        return learn(texts, self.vocabulary, self.sample, self.workers, folder)

    def _pieces(self, folder: Path) -> dict[str, Any]:
        model = self.out / "subwords" / "spm.model"
        training, sentences = {}, {}
        for name, pair, sets in self._pairs():
            text, target = self.out / "text" / name, folder / name
            target.mkdir()
            training[name] = cut_training(text, pair, model, target, self.workers)
            sentences[name] = {"train": training[name]["kept"]}
            for split in sets:
                if split != "train":
                    sentences[name][split] = cut_set(text, split, pair, model, target)
        return {"train": training, "sentences": sentences}

    def _data(self, folder: Path) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for name, pair, _ in self._pairs():
            # fairseq-preprocess refuses a folder that has a dictionary
            alone = folder / name
            record = binarise(
                pieces=self.out / "pieces" / name,
                pair=pair,
                sentences=self.ledger.record("pieces")["sentences"][name],
                folder=alone,
                log=self.out / f"preprocess-{name}.log",
                workers=self.workers,
                dictionary=self.out / "subwords" / "dict.txt",
            )
            for path in sorted(alone.iterdir()):
                path.replace(folder / path.name)
            alone.rmdir()
        names = sorted({ENGLISH, *self.languages})
        (folder / LANGUAGES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        return record
