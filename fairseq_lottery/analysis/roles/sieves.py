"""Sieves: for each query word, the set of keys whose attention makes a head local, syntactic, ...

A sieve is a function from a sentence to a bool matrix, (query words, key words + 1), whose last
column is ``</s>``. In the recording of an encoder without a decoder it is (tokens, tokens): words,
``<s>`` and ``</s>``. ``SIEVES`` maps the names of the command to functions that build them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import CLS, KINDS, SEP, Recording
from fairseq_lottery.analysis.roles.labels.alignments import alignment_of_attention, read_alignment
from fairseq_lottery.analysis.roles.labels.blocks import (
    blocks_between,
    delimited_blocks,
    read_boundaries,
)
from fairseq_lottery.analysis.roles.labels.dependencies import (
    has_relation,
    read_arcs,
    select_relations,
)
from fairseq_lottery.analysis.roles.sieve_keys import (
    block_keys,
    diagonal_keys,
    linked_keys,
    local_keys,
    marked_keys,
)
from fairseq_lottery.analysis.roles.sieve_settings import Sieve, SieveSettings
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.own_code import load_own


def _local(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        return local_keys(queries, keys, settings.window, recording.ends)

    kinds = tuple(kind for kind in ("enc_self", "dec_self") if kind in recording.record.kinds)
    return [Sieve("local", kinds, keys_of)]


def _delimiter(
    recording: Recording, settings: SieveSettings, role: str = "delimiter", text: str = ""
) -> list[Sieve]:
    """Return the sieve of all delimiters, or of those with a text."""
    marks = {
        side: [
            np.append([token == text if text else not is_word for token, is_word in zip(*one)],
                      [True] * recording.ends).astype(bool)
            for one in zip(recording.tokens(side), recording.are_words(side))
        ]
        for side in recording.record.sides
    }  # fmt: skip

    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        return marked_keys(queries, marks[KINDS[kind][1]][place])

    return [Sieve(role, recording.record.kinds, keys_of)]


def _diagonal(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        return diagonal_keys(queries, keys, settings.diagonal)

    return [Sieve("diagonal", ("enc_dec",), keys_of)]


def block_numbers(recording: Recording, settings: SieveSettings) -> dict[str, list[Array]]:
    """Return side -> the number of the sentence of each token, for each example.

    A side without any example of two sentences is left out.

    Raises:
        LotteryError: no example has two sentences, or a file of boundaries is malformed.
    """
    numbers = {
        side: read_boundaries(path, recording, side) for side, path in settings.boundaries.items()
    }
    for side in recording.record.sides:
        if side in numbers:
            continue
        if settings.separator is not None:
            tokens = recording.tokens(side)
            numbers[side] = [
                blocks_between(np.array([token == settings.separator for token in one], dtype=bool))
                for one in tokens
            ]
        elif recording.record.is_encoder:
            numbers[side] = delimited_blocks(recording)
    blocks = {
        side: sentences
        for side, sentences in numbers.items()
        if any(one.max(initial=-1) > 0 for one in sentences)
    }
    if not blocks:
        raise LotteryError(
            "no example has two sentences by its delimiters, --separator or the boundaries; leave"
            " the sieve block out"
        )
    return blocks


def _block(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    numbers = block_numbers(recording, settings)

    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        own, other = KINDS[kind]
        return block_keys(numbers[own][place], numbers[other][place], recording.ends)

    kinds = tuple(kind for kind in recording.record.kinds if set(KINDS[kind]) <= set(numbers))
    return [Sieve("block", kinds, keys_of, entropy=settings.entropy)]


def _syntactic(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    arcs = {side: read_arcs(path, recording, side) for side, path in settings.parses.items()}
    places = {side: list(map(np.flatnonzero, recording.are_words(side))) for side in arcs}
    kinds = {kind: own for kind, (own, other) in KINDS.items() if own == other and own in arcs}
    pooled = select_relations([one for by_side in arcs.values() for one in by_side],
                              settings.relations)  # fmt: skip
    sieves = []
    for role, is_reverse in (("syntactic", False), ("syntactic-reverse", True)):
        for relation in (None, *pooled):
            names = pooled if relation is None else [relation]
            links = {
                kind: [
                    words[
                        np.array(
                            [
                                (head, dependent) if is_reverse else (dependent, head)
                                for dependent, head, label in sentence
                                if any(has_relation(label, name) for name in names)
                            ],
                            dtype=np.int64,
                        ).reshape(-1, 2)
                    ]
                    for sentence, words in zip(arcs[side], places[side])
                ]
                for kind, side in kinds.items()
            }
            name = role if relation is None else f"{role}:{relation}"
            sieves.append(_linked(recording, name, links))
    return sieves


def _alignment(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    path = Path(settings.alignment or "")
    if path.is_dir():
        teacher = Recording.open(path)
        links = alignment_of_attention(teacher, recording, settings.alignment_layer)
    else:
        links = read_alignment(path, recording)
    return [_linked(recording, "alignment", {"enc_dec": links})]


def _linked(recording: Recording, role: str, links: Mapping[str, Sequence[Array]]) -> Sieve:
    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        return linked_keys(queries, keys, links[kind][place], recording.ends)

    return Sieve(role, tuple(links), keys_of, is_linked=True)


#: whether a model is an encoder without a decoder -> names of its sieves, in the order of defaults
SIEVES_OF = {
    False: ("local", "delimiter", "diagonal", "block", "syntactic", "alignment"),
    True: ("local", "delimiter", "cls", "sep", "block", "syntactic"),
}
#: name -> function that builds the sieves of that name, and the inputs one of which it requires
SIEVES: dict[str, tuple[Callable[[Recording, SieveSettings], list[Sieve]], tuple[str, ...]]] = {
    "local": (_local, ()),
    "delimiter": (_delimiter, ()),
    "cls": (partial(_delimiter, role="cls", text=CLS), ()),
    "sep": (partial(_delimiter, role="sep", text=SEP), ()),
    "diagonal": (_diagonal, ()),
    "block": (_block, ("separator", "source-boundaries")),
    "syntactic": (_syntactic, ("source-conllu", "target-conllu")),
    "alignment": (_alignment, ("alignment",)),
}


def possible_sieves(recording: Recording, settings: SieveSettings) -> tuple[str, ...]:
    """Return the names of the sieves that a recording can have with some settings."""
    complete = {name for name, (_, inputs) in SIEVES.items() if not inputs} | {*settings.labelled}
    is_encoder = recording.record.is_encoder
    if is_encoder and any(one.max(initial=-1) > 0 for one in delimited_blocks(recording)):
        complete.add("block")
    return tuple(name for name in SIEVES_OF[is_encoder] if name in complete)


def build_sieves(
    recording: Recording, names: Sequence[str], settings: SieveSettings
) -> list[Sieve]:
    """Return the sieves with some names.

    Args:
        names: keys of ``SIEVES``, or functions of the user as ``package.module:function``, which
            take the recording and the settings and return sieves. Empty for all that are possible.

    Raises:
        LotteryError: a name is unknown, or its settings are missing or malformed.
    """
    builders: list[Callable[[Recording, SieveSettings], list[Sieve]]] = []
    possible = possible_sieves(recording, settings)
    for name in dict.fromkeys(names or possible):
        if ":" in name:
            builders.append(partial(_own_sieves, name, load_own("sieve", name)))
        elif name not in SIEVES:
            raise LotteryError(
                f"sieve {name!r} is unknown; choose from {', '.join(SIEVES)}, or your own as"
                " package.module:function"
            )
        elif name not in possible:
            raise LotteryError(_why_impossible(recording, name))
        else:
            builders.append(SIEVES[name][0])
    return [sieve for build in builders for sieve in build(recording, settings)]


def why_not(name: str, is_encoder: bool) -> str:
    """Return why a model of this kind has no such sieve."""
    kind = "a model with a decoder" if is_encoder else "an encoder without a decoder"
    return f"the sieve {name} requires {kind}"


def _why_impossible(recording: Recording, name: str) -> str:
    is_encoder = recording.record.is_encoder
    if name not in SIEVES_OF[is_encoder]:
        return f"{why_not(name, is_encoder)}, unlike the model of {recording.folder}"
    flags = " or ".join(f"--{one}" for one in SIEVES[name][1])
    pairs = "examples of two sentences, or " if is_encoder and name == "block" else ""
    return f"the sieve {name} requires {pairs}{flags}"


def _own_sieves(
    name: str, build: Callable[..., Any], recording: Recording, settings: SieveSettings
) -> list[Sieve]:
    """Return the sieves of a user's function; refuse one that fails or returns something else."""
    try:
        sieves = list(build(recording, settings))
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's function may raise any error
        raise LotteryError(f"sieve {name} failed with {type(error).__name__}: {error}") from error
    if not all(isinstance(sieve, Sieve) for sieve in sieves):
        raise LotteryError(f"sieve {name} must return a list of sieves")
    return sieves
