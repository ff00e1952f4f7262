"""Rules of masks of pairs of languages: how they are combined, as in ``union:fr-en,en-de``.

torch is not imported; ``fairseq_lottery.masks.pair_masks`` combines the masks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fairseq_lottery.errors import LotteryError

#: combinations of masks; ``sides`` is the encoder of one mask and all other weights of another
COMBINATIONS = ("union", "intersection", "sides")
#: values of ``--ddp-backend`` that add up gradients after all backward passes of an update
BACKENDS = ("legacy_ddp", "no_c10d")


@dataclass(frozen=True)
class PairRule:
    """A combination of the masks of pairs; without a combination, the mask of one pair."""

    text: str
    combination: str
    pairs: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> PairRule:
        """Return the rule of a text: a pair, or one of ``COMBINATIONS`` with pairs.

        Raises:
            LotteryError: the rule is malformed.
        """
        name, colon, rest = text.partition(":")
        pairs = tuple(rest.split(",")) if colon else (text,)
        if (colon and name not in COMBINATIONS) or (name == "sides" and len(pairs) != 2):
            raise LotteryError(
                f"{text!r} does not describe a mask; give a pair, or a combination such as"
                f" {', '.join(f'{one}:fr-en,en-de' for one in COMBINATIONS)}"
            )
        return cls(text, name if colon else "", pairs)

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Refuse pairs that are not among ``known``."""
        unknown = [pair for pair in self.pairs if pair not in known]
        if unknown:
            raise LotteryError(
                f"the pair {unknown[0]} in {self.text!r} has no mask; choose from"
                f" {', '.join(known)}"
            )
