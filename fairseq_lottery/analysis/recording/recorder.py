"""Record a model on a corpus: one pass, streamed to files, resumed after a kill."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable, Union

import numpy as np
import torch
from torch import Tensor

from fairseq_lottery import __version__
from fairseq_lottery.analysis.recording.corpus import Corpus, Placement, Sentence
from fairseq_lottery.analysis.recording.recording import (
    FORMAT,
    KINDS,
    PARTS,
    PRECISIONS,
    SIDES,
    Array,
    Head,
    Record,
    Recording,
)
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import alone_in
from fairseq_lottery.inference.attention_weights import watched_heads
from fairseq_lottery.inference.loaded_model import LoadedModel, batches
from fairseq_lottery.records.json_files import read_file, write_file

#: attention module of a layer -> kind of attention
_MODULES = {
    "encoder.layers.{}.self_attn": "enc_self",
    "decoder.layers.{}.self_attn": "dec_self",
    "decoder.layers.{}.encoder_attn": "enc_dec",
}
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

    Files grow while the model runs, so memory does not depend on the number of sentences.
    ``record.json`` is written last.

    Args:
        loaded: translation model of fairseq's Transformer.
        corpus: sentences of its data folder, and their words.
        out: folder to write.
        tokens: maximum tokens of a batch, with padding.
        precision: a name of ``PRECISIONS``.
        advance: called with the number of sentences that were recorded since its last call.

    Raises:
        LotteryError: the model is not a Transformer for translation, ``out`` has another
            recording, or an activation is not finite.
    """
    if precision not in PRECISIONS:
        raise LotteryError(f"precision {precision!r} is unknown; choose from {PRECISIONS}")
    layout = Layout.of(loaded.model)
    content = _record(loaded, corpus, layout, precision)
    folder = Path(out)
    if (folder / "record.json").is_file():
        raise LotteryError(f"{folder} has a recording already; remove it or choose another name")
    with alone_in(folder):
        pending = _start(folder, content, corpus)
        advance(int(len(corpus.sentences) - pending.sum()))
        with _Files(folder, layout, corpus, np.dtype(precision)) as files:
            _run(loaded, corpus, layout, files, tokens, pending, advance)
        (folder / "done.npy").unlink()
        os.replace(folder / "draft.json", folder / "record.json")
    return Recording.open(folder)


@dataclass(frozen=True)
class Layout:
    """The layers and attention modules of a Transformer.

    Attributes:
        layers: (part, layer from 1) -> module.
        attention: name of an attention module -> (kind, layer from 1).
        width: width of each part.
        heads: kind -> heads of each layer.
    """

    layers: Mapping[tuple[str, int], Any]
    attention: Mapping[str, tuple[str, int]]
    width: Mapping[str, int]
    heads: Mapping[str, int]

    @classmethod
    def of(cls, model: Any) -> Layout:
        """Return the layout of fairseq's Transformer; refuse other models."""
        modules = dict(model.named_modules())
        layers, attention, heads = {}, {}, {}
        for part in PARTS.values():
            number = 0
            while f"{part}.layers.{number}" in modules:
                layers[part, number + 1] = modules[f"{part}.layers.{number}"]
                number += 1
        for (part, layer), _ in layers.items():
            for pattern, kind in _MODULES.items():
                name = pattern.format(layer - 1)
                if name in modules and name.startswith(part):
                    attention[name] = kind, layer
                    heads[kind] = modules[name].num_heads
        counts = {part: sum(one == part for one, _ in layers) for part in PARTS.values()}
        expected = {"enc_self": "encoder", "dec_self": "decoder", "enc_dec": "decoder"}
        for kind, part in expected.items():
            if not counts[part] or sum(k == kind for k, _ in attention.values()) != counts[part]:
                raise LotteryError(
                    f"the model has no {kind} attention in each of its {counts[part]} {part}"
                    " layers; only fairseq's Transformers for translation can be recorded"
                )
        if getattr(model.decoder, "cross_self_attention", False):
            raise LotteryError(
                "its decoder attends to source and target at once (--cross-self-attention), which"
                " cannot be recorded"
            )
        width = {part: modules[f"{part}.layers.0.self_attn"].embed_dim for part in PARTS.values()}
        return cls(layers, attention, width, heads)


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
        words={side: hashlib.sha256(_text(corpus, side).encode()).hexdigest() for side in PARTS},
        counts=corpus.counts,
        precision=precision,
        layers={
            part: max(layer for one, layer in layout.layers if one == part)
            for part in PARTS.values()
        },
        width=dict(layout.width),
        heads=dict(layout.heads),
        pruned_heads=tuple(
            Head(kind, layer, head + 1)
            for name, (kind, layer) in layout.attention.items()
            for head in _pruned_heads(modules[name])
        ),
        version=__version__,
    )


def _pruned_heads(module: Any) -> list[int]:
    """Return the heads, from 0, whose values or whose part of the output matrix is zero."""
    heads = module.num_heads
    with torch.no_grad():
        value = module.v_proj.weight.reshape(heads, -1).abs().sum(dim=1)
        if module.v_proj.bias is not None:
            value = value + module.v_proj.bias.reshape(heads, -1).abs().sum(dim=1)
        output = module.out_proj.weight.abs().sum(dim=0).reshape(heads, -1).sum(dim=1)
    return [head for head in range(heads) if not value[head] or not output[head]]


def _text(corpus: Corpus, side: str) -> str:
    return "".join(" ".join(one.words[side]) + "\n" for one in corpus.sentences)


def _start(folder: Path, content: Record, corpus: Corpus) -> Array:
    """Write the draft and the words, or check those of a killed recording; return what is left."""
    draft = read_file(folder / "draft.json", Record)
    done = folder / "done.npy"
    if draft is None:
        others = [path.name for path in folder.iterdir() if path.name != ".lock"]
        if others:
            raise LotteryError(
                f"{folder} has files ({', '.join(sorted(others)[:3])}) but no recording; choose"
                " another name"
            )
        np.save(done, np.zeros(len(corpus.sentences), dtype=bool))
        for side in PARTS:
            (folder / f"words.{side}.txt").write_text(_text(corpus, side), encoding="utf-8")
        write_file(folder / "draft.json", asdict(content))
    elif draft != content:
        before, now = asdict(draft), asdict(content)
        differing = [name for name in now if before[name] != now[name]]
        raise LotteryError(
            f"{folder} has an incomplete recording with other {', '.join(differing)}; repeat its"
            " command, or remove the folder"
        )
    pending: Array = ~np.load(done, allow_pickle=False)
    return pending


class _Files:
    """The files of a recording, written at the places of their sentences."""

    def __init__(self, folder: Path, layout: Layout, corpus: Corpus, dtype: np.dtype[Any]) -> None:
        self._folder, self._dtype = folder, dtype
        self._open: dict[str, tuple[int, int]] = {}
        self._starts: dict[str, Array] = {}
        lengths = {
            side: np.array([len(one.words[side]) for one in corpus.sentences], dtype=np.int64)
            for side in PARTS
        }
        for part, layer in layout.layers:
            width = layout.width[part]
            self._create(f"activations.{part}.{layer}", lengths[SIDES[part]], (width,))
        for kind, layer in layout.attention.values():
            queries, keys = (lengths[side] for side in KINDS[kind])
            heads = layout.heads[kind]
            for name in ("attention", "weighted"):
                self._create(f"{name}.{kind}.{layer}", heads * queries * (keys + 1), ())
            self._create(f"norms.{kind}.{layer}", heads * (keys + 1), ())

    def _create(self, name: str, rows: Array, inner: tuple[int, ...]) -> None:
        path = self._folder / f"{name}.npy"
        shape = (int(rows.sum()), *inner)
        if not path.exists():
            np.lib.format.open_memmap(path, "w+", self._dtype, shape)
        offset = np.load(path, mmap_mode="r").offset
        size = self._dtype.itemsize * int(np.prod(inner, dtype=np.int64))
        self._starts[name] = offset + size * (np.cumsum(rows) - rows)
        self._open[name] = os.open(path, os.O_WRONLY), size * int(rows.sum())

    def write(self, name: str, sentence: int, values: Array) -> None:
        """Write the values of a sentence; ``sentence`` is its place in the corpus."""
        data = memoryview(np.ascontiguousarray(values, dtype=self._dtype).tobytes())
        place = int(self._starts[name][sentence])
        while len(data):
            written = os.pwrite(self._open[name][0], data, place)
            data, place = data[written:], place + written

    def sync(self) -> None:
        """Write everything to the disk."""
        for number, _ in self._open.values():
            os.fsync(number)

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: object) -> None:
        for number, _ in self._open.values():
            os.close(number)


@dataclass
class _Outputs:
    """What the hooks have seen of a batch, by module."""

    layers: dict[tuple[str, int], Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    norms: dict[str, Array] = field(default_factory=dict)


@contextmanager
def _watched(model: Any, layout: Layout) -> Iterator[_Outputs]:
    """Yield outputs that every run of the model replaces."""
    outputs, modules = _Outputs(), dict(model.named_modules())

    def keep_layer(key: tuple[str, int], _: Any, __: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        outputs.layers[key] = _numpy(states.transpose(0, 1))

    def keep_norms(name: str, _: Any, __: Any, values: Tensor) -> None:
        outputs.norms[name] = _numpy(value_norms(values, modules[name]))

    def keep_weights(name: str, weights: Tensor) -> None:
        outputs.weights[name] = _numpy(weights.transpose(0, 1))

    with ExitStack() as hooks:
        hooks.enter_context(watched_heads(model, layout.attention, keep_weights))
        for key, layer in layout.layers.items():
            handle = layer.register_forward_hook(partial(keep_layer, key))
            hooks.callback(handle.remove)
        for name in layout.attention:
            handle = modules[name].v_proj.register_forward_hook(partial(keep_norms, name))
            hooks.callback(handle.remove)
        yield outputs


def value_norms(values: Tensor, module: Any) -> Tensor:
    """Return the norms of a module's value vectors after its output matrix.

    Args:
        values: output of the value matrix, (keys, batch, width).
        module: fairseq's attention module.

    Returns:
        (batch, heads, keys): the norm of f(x) in Kobayashi et al. 2020, section 3, without the bias
        of the output matrix, which belongs to no key.
    """
    keys, batch, width = values.shape
    heads = module.num_heads
    split = values.reshape(keys, batch, heads, width // heads).float()
    output = module.out_proj.weight.float().reshape(-1, heads, width // heads)
    products = torch.einsum("ohd,ohe->hde", output, output)
    squares = torch.einsum("kbhd,hde,kbhe->bhk", split, products, split)
    return squares.clamp(min=0).sqrt()


def _numpy(values: Tensor) -> Array:
    result: Array = values.detach().float().cpu().numpy()
    return result


def _run(
    loaded: LoadedModel,
    corpus: Corpus,
    layout: Layout,
    files: _Files,
    tokens: int,
    pending: Array,
    advance: Callable[[int], Any],
) -> None:
    places = {one.number: place for place, one in enumerate(corpus.sentences)}
    numbers = [corpus.sentences[place].number for place in np.flatnonzero(pending).tolist()]
    recorded: list[int] = []
    done = files._folder / "done.npy"

    def save() -> None:
        files.sync()
        pending[recorded] = False
        with open(done, "rb+") as file:
            np.save(file, ~pending)
        recorded.clear()

    with _watched(loaded.model, layout) as outputs, torch.no_grad():
        selected = corpus.examples_of(numbers)
        for count, batch in enumerate(batches(selected, tokens, loaded.device), 1):
            loaded.model(**batch["net_input"], features_only=True)  # without the output layer
            inputs = {
                "source": batch["net_input"]["src_tokens"].cpu().numpy(),
                "target": batch["net_input"]["prev_output_tokens"].cpu().numpy(),
            }
            for row, number in enumerate(batch["id"].tolist()):
                place = places[number]
                sentence = corpus.sentences[place]
                placement = corpus.place(sentence, {s: tokens[row] for s, tokens in inputs.items()})
                for name, values in _merged(outputs, layout, row, sentence, placement):
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


def _merged(
    outputs: _Outputs, layout: Layout, row: int, sentence: Sentence, placement: Placement
) -> Iterator[tuple[str, Array]]:
    """Yield the files and the values of a sentence, by words."""
    for (part, layer), states in outputs.layers.items():
        pieces = states[row][placement.inputs[SIDES[part]]].astype(np.float64)
        yield f"activations.{part}.{layer}", _mean(pieces, sentence.starts[SIDES[part]], 0)
    for name, (kind, layer) in layout.attention.items():
        queries, keys = KINDS[kind]
        rows = placement.predictions if kind == "enc_dec" else placement.inputs[queries]
        columns = np.append(placement.inputs[keys], placement.end[keys])
        starts = np.append(sentence.starts[keys], len(columns) - 1)
        weights = outputs.weights[name][row][:, rows][:, :, columns].astype(np.float64)
        norms = outputs.norms[name][row][:, columns].astype(np.float64)
        for title, values in (("attention", weights), ("weighted", weights * norms[:, None])):
            summed = np.add.reduceat(values, starts, axis=2)
            yield f"{title}.{kind}.{layer}", _mean(summed, sentence.starts[queries], 1)
        yield f"norms.{kind}.{layer}", _mean(norms, starts, 1)


def _mean(pieces: Array, starts: Union[Array, Sequence[int]], axis: int) -> Array:
    """Return the mean over the pieces of each word."""
    counts = np.diff(np.append(starts, pieces.shape[axis]))
    shape = [1] * pieces.ndim
    shape[axis] = -1
    means: Array = np.add.reduceat(pieces, starts, axis=axis) / counts.reshape(shape)
    return means
