"""``Record``: the content of a recording's ``record.json``, and the limits of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Optional

from fairseq_lottery.records.schema import Count, Rule, Text, one_of, short

FORMAT = "fairseq_lottery recording 1"
#: side of the corpus -> part of the model that has an activation for each of its words
PARTS = {"source": "encoder", "target": "decoder"}
#: part of the model -> side of the corpus
SIDES = {part: side for side, part in PARTS.items()}
#: kind of attention -> sides of its queries and of its keys
KINDS = {
    "enc_self": ("source", "source"),
    "dec_self": ("target", "target"),
    "enc_dec": ("target", "source"),
}
PRECISIONS = ("float32", "float16")
#: delimiters of the inputs of an encoder model: at the start, and at the end of each sentence
CLS, SEP = "<s>", "</s>"
#: largest number of layers, of heads of a layer, of activations of a word, of words of a side, and
#: of sentences of a subset; products of them fit 64 bits
LAYERS, HEADS, WIDTH, WORDS, SUBSET = 1000, 1024, 1 << 20, 1 << 28, 1 << 28


def _up_to(most: int) -> Rule:
    return Rule(f"an integer from 1 to {most}", lambda value: 1 <= value <= most)


@dataclass(frozen=True)
class Head:
    """An attention head; layers and heads count from 1."""

    kind: Annotated[str, one_of(tuple(KINDS))]
    layer: Annotated[int, _up_to(LAYERS)]
    head: Annotated[int, _up_to(HEADS)]


@dataclass(frozen=True)
class Record:
    """Content of ``record.json``.

    The record of an encoder, such as a RoBERTa, has entries for the side ``source``, the part
    ``encoder`` and the kind ``enc_self`` only.

    Attributes:
        checkpoint, weights: file of the model, and digest of its weights.
        data, subset, sentences, of: data folder, its subset, the numbers of the recorded sentences
            in it, and the number of all its sentences.
        subwords: side -> rule by which subwords were merged to words.
        words: side -> SHA-256 of its file of words.
        counts: side -> number of its words.
        width: part -> number of activations of a word in each layer.
        layers: part -> number of its layers.
        heads: kind of attention -> heads of each layer.
        pruned_heads: heads whose attention has no effect, because their value weights or their
            part of the output matrix are all zero.
    """

    format: Annotated[str, one_of((FORMAT,))]
    checkpoint: Text
    weights: Text
    data: Text
    subset: Text
    sentences: tuple[Count, ...]
    of: Annotated[int, _up_to(SUBSET)]
    subwords: dict[Text, Text]
    words: dict[Text, Text]
    counts: dict[Text, Annotated[int, _up_to(WORDS)]]
    precision: Annotated[str, one_of(PRECISIONS)]
    layers: dict[Text, Annotated[int, _up_to(LAYERS)]]
    width: dict[Text, Annotated[int, _up_to(WIDTH)]]
    heads: dict[Text, Annotated[int, _up_to(HEADS)]]
    pruned_heads: tuple[Head, ...]
    version: Text

    @property
    def sides(self) -> tuple[str, ...]:
        """Sides of the corpus."""
        return tuple(side for side in PARTS if side in self.words)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the model."""
        return tuple(PARTS[side] for side in self.sides)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of attention of the model."""
        return tuple(kind for kind, sides in KINDS.items() if set(sides) <= set(self.sides))

    @property
    def is_encoder(self) -> bool:
        """Whether the model is an encoder without a decoder."""
        return self.parts == ("encoder",)

    def layers_of(self, part_or_kind: str) -> range:
        """Return the numbers of the layers, from 1, of a part or of a kind of attention."""
        part = "encoder" if part_or_kind in ("encoder", "enc_self") else "decoder"
        return range(1, self.layers[part] + 1)

    @property
    def arrays(self) -> Iterator[tuple[str, str, int]]:
        """All arrays of the recording: what they have, the part or kind, and the layer."""
        for part in self.parts:
            for layer in self.layers_of(part):
                yield "activations", part, layer
        for kind in self.kinds:
            for layer in self.layers_of(kind):
                for name in ("attention", "weighted", "norms"):
                    yield name, kind, layer


def problem_of(record: Record) -> Optional[str]:
    """Return why the entries of a record do not fit each other; None if they do."""
    sides = ("source",) if set(record.words) == {"source"} else tuple(PARTS)
    parts = tuple(PARTS[side] for side in sides)
    kinds = tuple(kind for kind, of_kind in KINDS.items() if set(of_kind) <= set(sides))
    for name, keys in (
        *((name, sides) for name in ("subwords", "words", "counts")),
        *((name, parts) for name in ("layers", "width")),
        ("heads", kinds),
    ):
        entries: dict[str, Any] = getattr(record, name)
        if set(entries) != set(keys):
            return f"{name} has {short(sorted(entries))}, expected {', '.join(keys)}"
    if not record.sentences:
        return "sentences is empty"
    if len(set(record.sentences)) < len(record.sentences):
        return "sentences has a number twice"
    if max(record.sentences) >= record.of:
        return f"sentences has {max(record.sentences)}, expected less than {record.of}, as in of"
    if len(set(record.pruned_heads)) < len(record.pruned_heads):
        return "pruned_heads has a head twice"
    for one in record.pruned_heads:
        layers = record.layers_of(one.kind) if one.kind in kinds else ()
        if one.layer not in layers or one.head > record.heads[one.kind]:
            return (
                f"pruned_heads has head {one.head} of layer {one.layer} of {one.kind}, which the"
                " model lacks"
            )
    return None
