"""Sieves: for each query word, the set of keys whose attention makes a head local, syntactic, ...

A sieve is a function from a sentence to a bool matrix, (query words, key words + 1), whose last
column is ``</s>``. ``SIEVES`` maps the names of the command to functions that build them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import KINDS, PARTS, Recording
from fairseq_lottery.analysis.roles.labels.alignments import alignment_of_attention, read_alignment
from fairseq_lottery.analysis.roles.labels.blocks import blocks_by_separator, read_boundaries
from fairseq_lottery.analysis.roles.labels.dependencies import (
    has_relation,
    read_arcs,
    select_relations,
)
from fairseq_lottery.analysis.roles.sieve_keys import (
    block_keys,
    delimiter_keys,
    diagonal_keys,
    linked_keys,
    local_keys,
)
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.own_code import load_own


@dataclass(frozen=True)
class Sieve:
    """The sieve of one role.

    Attributes:
        role: name of the role.
        kinds: kinds of attention that have it.
        keys_of: kind, number of the sentence, number of query words, number of key words -> bool
            (query words, key words + 1).
        entropy: whether the score is multiplied by the entropy of the row.
        is_linked: whether it links single words, so that the largest weight can be right or wrong.
    """

    role: str
    kinds: tuple[str, ...]
    keys_of: Callable[[str, int, int, int], Array]
    entropy: bool = False
    is_linked: bool = False


@dataclass(frozen=True)
class SieveSettings:
    """What sieves are built from.

    Attributes:
        window: words on each side of the query word in the local sieve, which includes itself.
        diagonal: largest distance of relative positions in the diagonal sieve.
        entropy: whether block scores are multiplied by the entropy of the row, as published.
        separator: word between the sentences of an example.
        boundaries: side -> file of ``read_boundaries``.
        parses: side -> CoNLL-U file.
        relations: relations of the syntactic sieves; by default those of the papers that occur.
        alignment: Pharaoh file, or folder of a recording of another model.
        alignment_layer: see ``alignment_of_attention``.
    """

    window: int = 2
    diagonal: float = 0.1
    entropy: bool = False
    separator: Optional[str] = None
    boundaries: Mapping[str, Union[str, Path]] = field(default_factory=dict)
    parses: Mapping[str, Union[str, Path]] = field(default_factory=dict)
    relations: tuple[str, ...] = ()
    alignment: Optional[Union[str, Path]] = None
    alignment_layer: Optional[int] = None

    def __post_init__(self) -> None:
        if self.window < 0:
            raise LotteryError(f"--window {self.window} is negative; 2 is two words on each side")
        if not 0 < self.diagonal <= 1:
            raise LotteryError(f"--diagonal {self.diagonal:g} is outside (0, 1]; 0.1 is a tenth")

    @property
    def sieves(self) -> tuple[str, ...]:
        """Return the names of the sieves for which there are settings."""
        has_blocks = self.separator is not None or self.boundaries
        return (
            *("local", "delimiter", "diagonal"),
            *(("block",) if has_blocks else ()),
            *(("syntactic",) if self.parses else ()),
            *(("alignment",) if self.alignment is not None else ()),
        )


def _local(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        return local_keys(queries, keys, settings.window)

    return [Sieve("local", ("enc_self", "dec_self"), keys_of)]


def _delimiter(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        return delimiter_keys(queries, keys)

    return [Sieve("delimiter", tuple(KINDS), keys_of)]


def _diagonal(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        return diagonal_keys(queries, keys, settings.diagonal)

    return [Sieve("diagonal", ("enc_dec",), keys_of)]


def block_numbers(recording: Recording, settings: SieveSettings) -> dict[str, list[Array]]:
    """Return side -> the number of the sentence of each word, for each example.

    A side without any example of two sentences is left out.

    Raises:
        LotteryError: no example has two sentences, or a file of boundaries is malformed.
    """
    numbers = {side: read_boundaries(p, recording, side) for side, p in settings.boundaries.items()}
    for side in PARTS:
        if settings.separator is not None and side not in numbers:
            words = recording.words(side)
            numbers[side] = [blocks_by_separator(one, settings.separator) for one in words]
    blocks = {
        side: sentences
        for side, sentences in numbers.items()
        if any(one.max(initial=-1) > 0 for one in sentences)
    }
    if not blocks:
        raise LotteryError(
            "no example has two sentences by --separator or the boundaries; leave the sieve block"
            " out"
        )
    return blocks


def _block(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    numbers = block_numbers(recording, settings)

    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        own, other = KINDS[kind]
        return block_keys(numbers[own][place], numbers[other][place])

    kinds = tuple(kind for kind, sides in KINDS.items() if set(sides) <= set(numbers))
    return [Sieve("block", kinds, keys_of, entropy=settings.entropy)]


def _syntactic(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    arcs = {side: read_arcs(path, recording, side) for side, path in settings.parses.items()}
    kinds = {kind: own for kind, (own, other) in KINDS.items() if own == other and own in arcs}
    pooled = select_relations([one for by_side in arcs.values() for one in by_side],
                              settings.relations)  # fmt: skip
    sieves = []
    for role, is_reverse in (("syntactic", False), ("syntactic-reverse", True)):
        for relation in (None, *pooled):
            names = pooled if relation is None else [relation]
            links = {
                kind: [
                    np.array(
                        [
                            (head, dependent) if is_reverse else (dependent, head)
                            for dependent, head, label in sentence
                            if any(has_relation(label, name) for name in names)
                        ],
                        dtype=np.int64,
                    ).reshape(-1, 2)
                    for sentence in arcs[side]
                ]
                for kind, side in kinds.items()
            }
            name = role if relation is None else f"{role}:{relation}"
            sieves.append(_linked(name, links))
    return sieves


def _alignment(recording: Recording, settings: SieveSettings) -> list[Sieve]:
    path = Path(settings.alignment or "")
    if path.is_dir():
        teacher = Recording.open(path)
        links = alignment_of_attention(teacher, recording, settings.alignment_layer)
    else:
        links = read_alignment(path, recording)
    return [_linked("alignment", {"enc_dec": links})]


def _linked(role: str, links: Mapping[str, Sequence[Array]]) -> Sieve:
    def keys_of(kind: str, place: int, queries: int, keys: int) -> Array:
        return linked_keys(queries, keys, links[kind][place])

    return Sieve(role, tuple(links), keys_of, is_linked=True)


#: name -> function that builds the sieves of that name, and the inputs one of which it requires
SIEVES: dict[str, tuple[Callable[[Recording, SieveSettings], list[Sieve]], tuple[str, ...]]] = {
    "local": (_local, ()),
    "delimiter": (_delimiter, ()),
    "diagonal": (_diagonal, ()),
    "block": (_block, ("separator", "source-boundaries")),
    "syntactic": (_syntactic, ("source-conllu", "target-conllu")),
    "alignment": (_alignment, ("alignment",)),
}


def build_sieves(
    recording: Recording, names: Sequence[str], settings: SieveSettings
) -> list[Sieve]:
    """Return the sieves with some names.

    Args:
        names: keys of ``SIEVES``, or functions of the user as ``package.module:function``, which
            take the recording and the settings and return sieves.

    Raises:
        LotteryError: a name is unknown, or its settings are missing or malformed.
    """
    builders: list[Callable[[Recording, SieveSettings], list[Sieve]]] = []
    for name in dict.fromkeys(names):
        if ":" in name:
            builders.append(partial(_own_sieves, name, load_own("sieve", name)))
        elif name not in SIEVES:
            raise LotteryError(
                f"sieve {name!r} is unknown; choose from {', '.join(SIEVES)}, or your own as"
                " package.module:function"
            )
        elif name not in settings.sieves:
            flags = " or ".join(f"--{one}" for one in SIEVES[name][1])
            raise LotteryError(f"the sieve {name} requires {flags}")
        else:
            builders.append(SIEVES[name][0])
    return [sieve for build in builders for sieve in build(recording, settings)]


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
