"""``Sieve`` and ``SieveSettings``: the sieve of a role, and what sieves are built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional, Union

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.errors import LotteryError


@dataclass(frozen=True)
class Sieve:
    """The sieve of one role.

    Attributes:
        role: name of the role.
        kinds: kinds of attention that have it.
        keys_of: kind, number of the sentence, number of query tokens, number of key tokens -> bool
            (query tokens, key tokens + ``Recording.ends``).
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
        separator: word between the sentences of an example. In examples of encoders, delimiters
            separate sentences.
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
    def labelled(self) -> tuple[str, ...]:
        """Return the names of the sieves that need settings and have them."""
        stated = {
            "block": self.separator is not None or self.boundaries,
            "syntactic": self.parses,
            "alignment": self.alignment is not None,
        }
        return tuple(name for name, is_stated in stated.items() if is_stated)
