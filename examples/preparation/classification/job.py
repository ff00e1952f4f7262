"""The stages from text to binary data, which GLUE and XNLI share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from preparation.classification.encoders import Encoder
from preparation.classification.layout import (
    binarise_inputs,
    binarise_labels,
    copy_scores,
    cut,
)
from preparation.ledger import Ledger, Stage, by_name

RESULT = "data-bin"  # what trainings read; the rest may be deleted


@dataclass(frozen=True)
class Job:
    """Everything that the stages read.

    Attributes:
        out: folder of one data set.
        inputs: number of sentences of an example.
        labels: the labels in the order of the classes; empty for scores.
        encoder: subwords of the pre-trained model.
        write_text: writes the examples of all sets into a folder, and returns the record: ``sets``
            (set -> examples), ``labelled`` (the sets with labels), ``labels`` (label -> its number
            in the largest labelled set).
    """

    out: Path
    inputs: int
    labels: tuple[str, ...]
    encoder: Encoder
    workers: int
    ledger: Ledger
    write_text: Callable[[Path], dict[str, Any]]

    def run(self) -> dict[str, int]:
        """Run the stages that are missing; return set -> number of examples."""
        stages = by_name(
            Stage("text", (), self.write_text),
            Stage("pieces", ("text",), self._pieces),
            Stage(RESULT, ("text", "pieces"), self._data),
        )
        self.ledger.ensure(stages, RESULT)
        return dict(self.ledger.record("text")["sets"])

    def _pieces(self, folder: Path) -> dict[str, Any]:
        text, sets = self.out / "text", self._record["sets"]
        return {"subwords": cut(text, folder, self.inputs, sets, self.encoder, self.workers)}

    def _data(self, folder: Path) -> dict[str, Any]:
        text, sets = self.out / "text", self._record["sets"]
        dictionary, pieces = self.encoder.dictionary, self.out / "pieces"
        binarise_inputs(pieces, folder, self.inputs, sets, dictionary, self.workers)
        labelled = {name: sets[name] for name in self._record["labelled"]}
        if not self.labels:
            copy_scores(text, folder, labelled)
        else:
            counts = self._record["labels"]
            order = {name: counts.get(name, 0) for name in self.labels}
            binarise_labels(text, folder, labelled, order, self.workers)
        return {"classes": len(self.labels) or 1}

    @property
    def _record(self) -> Mapping[str, Any]:
        return self.ledger.record("text")
