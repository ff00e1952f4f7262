"""Record a model on a corpus: one pass, streamed to files, resumed after a kill."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np
import torch

from fairseq_lottery import __version__
from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.array_files import ArrayFiles
from fairseq_lottery.analysis.recording.corpus import Corpus
from fairseq_lottery.analysis.recording.layout import Layout, find_pruned_heads, watched_outputs
from fairseq_lottery.analysis.recording.recording import (
    FORMAT,
    PRECISIONS,
    Head,
    Record,
    Recording,
)
from fairseq_lottery.analysis.recording.word_rows import word_rows
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import alone_in, replacing, writing_in
from fairseq_lottery.inference.loaded_model import LoadedModel, batches, refuse_small_batches
from fairseq_lottery.records.json_files import read_file, write_file

#: which sentences are recorded; written once all other files have their sizes
_DONE = "done.npy"
#: side -> input of fairseq's models that has its tokens
_INPUTS = {"source": "src_tokens", "target": "prev_output_tokens"}
#: batches between two points from which a killed recording resumes
_BATCHES = 16


def record(
    loaded: LoadedModel,
    corpus: Corpus,
    out: Union[str, Path],
    tokens: int = 4096,
    precision: str = "float32",
    advance: Callable[[int], Any] = lambda sentences: None,
) -> Recording:
    """Record a model on a corpus, or resume a recording with equal settings.

    A finished recording with equal settings is returned at once.

    Files grow while the model runs, so memory does not depend on the number of sentences.
    ``record.json`` is written last.

    Args:
        loaded: translation model of fairseq's Transformer, or its encoder, such as a RoBERTa.
        corpus: sentences of its data folder, and their words.
        out: folder to write.
        tokens: maximum tokens of a batch, with padding.
        precision: a name of ``PRECISIONS``.
        advance: called with the number of sentences that were recorded since its last call.

    Raises:
        LotteryError: the model is not such a Transformer, ``out`` has another recording, or an
            activation is not finite.
    """
    if precision not in PRECISIONS:
        raise LotteryError(f"precision {precision!r} is unknown; choose from {PRECISIONS}")
    layout = Layout.of(loaded.model, loaded.source.adapter.stacks)
    content = _record(loaded, corpus, layout, precision)
    folder = Path(out)
    finished = read_file(folder / "record.json", Record)
    if finished is not None:
        if finished != content:
            raise LotteryError(f"{folder} has another recording; remove it or choose another name")
        return Recording.open(folder)
    refuse_small_batches(corpus.examples_of(content.sentences), tokens)
    with alone_in(folder), writing_in(folder):
        _start(folder, content)
        is_new = not (folder / _DONE).exists()
        with ArrayFiles(folder, layout, corpus, np.dtype(precision), is_new) as files:
            if is_new:
                _write_words(folder, corpus)
            pending: Array = ~np.load(folder / _DONE, allow_pickle=False)
            advance(int(len(corpus.sentences) - pending.sum()))
            _run(loaded, corpus, layout, files, tokens, pending, advance)
        os.replace(folder / "draft.json", folder / "record.json")
        (folder / _DONE).unlink()
    return Recording.open(folder)


def _record(loaded: LoadedModel, corpus: Corpus, layout: Layout, precision: str) -> Record:
    modules = dict(loaded.model.named_modules())
    return Record(
        format=FORMAT,
        checkpoint=str(loaded.source.path),
        weights=loaded.source.digest(),
        data=str(loaded.evaluation.folder),
        subset=corpus.subset,
        sentences=tuple(one.number for one in corpus.sentences),
        of=corpus.of,
        subwords=dict(corpus.subwords),
        words={
            side: hashlib.sha256(_text(corpus, side).encode()).hexdigest() for side in corpus.sides
        },
        counts=corpus.counts,
        precision=precision,
        layers={
            part: max(layer for one, layer in layout.layers if one == part) for part in layout.width
        },
        width=dict(layout.width),
        heads=dict(layout.heads),
        pruned_heads=tuple(
            Head(kind, layer, head + 1)
            for name, (kind, layer) in layout.attention.items()
            for head in find_pruned_heads(modules[name])
        ),
        version=__version__,
    )


def _text(corpus: Corpus, side: str) -> str:
    return "".join(" ".join(one.tokens[side]) + "\n" for one in corpus.sentences)


def _start(folder: Path, content: Record) -> None:
    """Write the draft of the record, or compare it with that of a killed recording."""
    draft = read_file(folder / "draft.json", Record)
    if draft is None:
        # hidden are the lock, and temporary files of a killed start
        others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        if others:
            raise LotteryError(
                f"{folder} has files ({', '.join(others[:3])}) but no recording; choose another"
                " name"
            )
        write_file(folder / "draft.json", asdict(content))
    elif draft != content:
        before, now = asdict(draft), asdict(content)
        differing = [name for name in now if before[name] != now[name]]
        raise LotteryError(
            f"{folder} has an incomplete recording with other {', '.join(differing)}; repeat its"
            " command, or remove the folder"
        )


def _write_words(folder: Path, corpus: Corpus) -> None:
    """Write the words, and that no sentence has been recorded."""
    for side in corpus.sides:
        (folder / f"words.{side}.txt").write_text(_text(corpus, side), encoding="utf-8")
    with replacing(folder / _DONE) as temporary, open(temporary, "wb") as file:
        np.save(file, np.zeros(len(corpus.sentences), dtype=bool))


def _run(
    loaded: LoadedModel,
    corpus: Corpus,
    layout: Layout,
    files: ArrayFiles,
    tokens: int,
    pending: Array,
    advance: Callable[[int], Any],
) -> None:
    places = {one.number: place for place, one in enumerate(corpus.sentences)}
    numbers = [corpus.sentences[place].number for place in np.flatnonzero(pending).tolist()]
    recorded: list[int] = []
    done = files.folder / _DONE

    def save() -> None:
        files.sync()
        pending[recorded] = False
        with open(done, "rb+") as file:
            np.save(file, ~pending)
        recorded.clear()

    with watched_outputs(loaded.model, layout) as outputs, torch.no_grad():
        selected = corpus.examples_of(numbers)
        for count, batch in enumerate(batches(selected, tokens, loaded.device), 1):
            given = corpus.model_inputs(batch)
            loaded.model(**given, features_only=True)  # without the output layer
            inputs = {side: given[_INPUTS[side]].cpu().numpy() for side in corpus.sides}
            for row, number in enumerate(batch["id"].tolist()):
                place = places[number]
                sentence = corpus.sentences[place]
                placement = corpus.place(sentence, {s: tokens[row] for s, tokens in inputs.items()})
                for name, values in word_rows(outputs, layout, row, sentence, placement):
                    if not np.isfinite(values).all():
                        raise LotteryError(
                            f"{name} of sentence {number} of {corpus.subset} has NaN or infinity in"
                            f" {loaded.source.path}; the model did not train"
                        )
                    files.write(name, place, values)
                recorded.append(place)
            advance(len(batch["id"]))
            if count % _BATCHES == 0:
                save()
        save()
