"""``PairMasks``: masks of pairs of languages that share the weights of one model.

Lin et al. 2021 (LaSS) train one sub-network for each pair. Pairs of a family may share a mask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask, overlap, union
from fairseq_lottery.options.pair_rule import PairRule


class PairMasks(Mapping[str, Mask]):
    """An immutable mapping from pair, such as ``en-de``, to its mask.

    Args:
        masks: pair -> mask; several pairs may have the same object.

    Attributes:
        union: mask of the weights that a pair keeps, which the model's optimizer enforces.

    Raises:
        LotteryError: there is no pair, or the masks have different prunable sets.
    """

    def __init__(self, masks: Mapping[str, Mask]) -> None:
        if not masks:
            raise LotteryError("there are no masks of pairs; give at least one pair")
        for pair in masks:
            if len(pair.split("-")) != 2 or not all(pair.split("-")):
                raise LotteryError(f"{pair!r} is not a pair of languages such as en-de")
        self._masks = dict(sorted(masks.items()))
        self.union = union(self._masks.values())

    def __getitem__(self, pair: str) -> Mask:
        return self._masks[pair]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    @property
    def groups(self) -> list[tuple[Mask, list[str]]]:
        """Return each distinct mask with its pairs, in the order of the pairs."""
        groups: dict[str, tuple[Mask, list[str]]] = {}
        for pair, mask in self._masks.items():
            groups.setdefault(mask.digest(), (mask, []))[1].append(pair)
        return list(groups.values())

    def digest(self) -> str:
        """Return the SHA-256 of the pairs and their masks."""
        lines = sorted(f"{pair}|{mask.digest()}" for pair, mask in self._masks.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def find(self, pair: str, rule: str = "") -> Mask:
        """Return the mask of a pair, or the mask that ``rule`` describes.

        Args:
            rule: another pair, or a combination such as ``union:fr-en,en-de``.

        Raises:
            LotteryError: the pair has no mask and there is no rule, or the rule is malformed.
        """
        if not rule:
            example = f"union:{','.join(list(self)[:2])}"
            advice = f"choose the mask by --pair-mask, for instance --pair-mask {example}"
            self.refuse_unknown([pair], advice)
            return self[pair]
        parsed = PairRule.parse(rule)
        parsed.refuse_unknown(self)
        masks = [self[pair] for pair in parsed.pairs]
        if parsed.combination == "union":
            return union(masks)
        if parsed.combination == "sides":
            encoder, decoder = masks
            kept = {n: (encoder if n.startswith("encoder.") else decoder)[n] for n in encoder}
            return Mask(kept, encoder.protected)
        return reduce(Mask.intersection, masks)

    def refuse_unknown(self, pairs: Iterable[str], advice: str) -> None:
        """Refuse pairs that have no mask; the message ends with ``advice``."""
        unknown = [pair for pair in pairs if pair not in self]
        if unknown:
            raise LotteryError(
                f"the masks do not have the pair {unknown[0]}, only {', '.join(self)}; {advice}"
            )

    def similarities(self) -> Iterator[tuple[str, str, float, float]]:
        """Yield two pairs, the Jaccard index of their masks over all matrices, and its chance."""
        pairs = list(self)
        for number, first in enumerate(pairs):
            for second in pairs[number + 1 :]:
                yield (first, second, *overlap(self[first], self[second])[""])
