"""Which stages lead to ``data-bin``, for either kind of subwords."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preparation.archives import extract_corpus
from preparation.binary import binarise
from preparation.download import Downloads
from preparation.ledger import Ledger, Stage, by_name
from preparation.pairs import Pair
from preparation.sources import Corpus
from preparation.subwords import cut_set, cut_training, learn
from preparation.text import clean_set, clean_training
from preparation.wmt14.google import TYPES, unpack_google
from preparation.wmt14.pair_sources import Sources
from preparation.wmt14.references import write_references

SETS = ("valid", "test")
RESULTS = ("references", "data-bin")  # what trainings read; the rest may be deleted


@dataclass(frozen=True)
class Job:
    """Everything that the stages read.

    Attributes:
        vocabulary: types of the joined dictionary, of sentencepiece only.
        sample: sentences that the word pieces are learned on.
    """

    out: Path
    pair: Pair
    sources: Sources
    downloads: Downloads
    ledger: Ledger
    vocabulary: int
    sample: int
    workers: int

    def stages_of_sentencepiece(self) -> dict[str, Stage]:
        """Clean the raw corpora, learn word pieces on them, cut, binarise."""
        return by_name(
            Stage("references", (), self._references),
            Stage("raw", ("references",), self._raw),
            Stage("text", ("references", "raw"), self._text),
            Stage("subwords", ("text",), self._subwords),
            Stage("pieces", ("text", "subwords"), self._pieces),
            Stage("data-bin", ("pieces", "subwords"), self._data),
        )

    def stages_of_google(self) -> dict[str, Stage]:
        """Take the archive's own pieces, compare its sets with the references, binarise."""
        return by_name(
            Stage("references", (), self._references),
            Stage("pieces", ("references",), self._google),
            Stage("data-bin", ("pieces",), self._google_data),
        )

    def _references(self, folder: Path) -> dict[str, Any]:
        archives = self._fetch(*self.sources.sets.values())
        counts = write_references(self.sources.sets, archives, self.pair, folder)
        return {"sentences": counts, "sources": self._origins(self.sources.sets.values(), archives)}

    def _raw(self, folder: Path) -> dict[str, Any]:
        archives = self._fetch(*self.sources.train)
        counts = {}
        for corpus in self.sources.train:
            targets = {language: folder / f"{corpus.name}.{language}" for language in self.pair}
            counts[corpus.name] = extract_corpus(corpus, archives[corpus.name], targets)
            print(f"{corpus.name}: {counts[corpus.name]:,} pairs of sentences", flush=True)
        return {"sentences": counts, "sources": self._origins(self.sources.train, archives)}

    def _text(self, folder: Path) -> dict[str, Any]:
        for name in SETS:
            clean_set(self.out / "references", name, self.pair, folder)
        corpora = [corpus.name for corpus in self.sources.train]
        return clean_training(self.out / "raw", corpora, self.pair, folder, self.workers)

    def _subwords(self, folder: Path) -> dict[str, Any]:
        texts = [self.out / "text" / f"train.{language}" for language in self.pair]
        return learn(texts, self.vocabulary, self.sample, self.workers, folder)

    def _pieces(self, folder: Path) -> dict[str, Any]:
        text, model = self.out / "text", self.out / "subwords" / "spm.model"
        train = cut_training(text, self.pair, model, folder, self.workers)
        sets = {name: cut_set(text, name, self.pair, model, folder) for name in SETS}
        return {"train": train, "sentences": {"train": train["kept"], **sets}}

    def _data(self, folder: Path) -> dict[str, Any]:
        return self._binarise(folder, dictionary=self.out / "subwords" / "dict.txt")

    def _google(self, folder: Path) -> dict[str, Any]:
        archives = self._fetch(*self.sources.google.values())
        corpora = self.sources.google
        (archive,) = archives.values()
        counts = unpack_google(corpora, archive, self.out / "references", self.pair, folder)
        return {"sentences": counts, "sources": self._origins(corpora.values(), archives)}

    def _google_data(self, folder: Path) -> dict[str, Any]:
        return self._binarise(folder, types=TYPES)

    def _binarise(self, folder: Path, **dictionary: Any) -> dict[str, Any]:
        return binarise(
            pieces=self.out / "pieces",
            pair=self.pair,
            sentences=self.ledger.record("pieces")["sentences"],
            folder=folder,
            log=self.out / "preprocess.log",
            workers=self.workers,
            **dictionary,
        )

    def _fetch(self, *corpora: Corpus) -> dict[str, Path]:
        return self.downloads.fetch(corpus.archive for corpus in corpora)

    def _origins(self, corpora: Any, archives: dict[str, Path]) -> dict[str, Any]:
        return self.downloads.records((corpus.archive for corpus in corpora), archives)
