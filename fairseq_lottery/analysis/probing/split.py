"""Divide sentences into training, development and test part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.streams import raw_bits

#: most sentences of a subset
_MOST = 1 << 26
PORTIONS = ("train", "dev", "test")


def split_sentences(
    numbers: Sequence[int], of: int, shares: Sequence[float], seed: int
) -> dict[str, Array]:
    """Return the sentences of each portion.

    The order depends on seed and sentence number only, so recordings of the same sentences are
    divided alike.

    Args:
        numbers: numbers of the sentences in their subset.
        of: number of sentences of the subset.
        shares: shares of ``train``, ``dev`` and ``test``, which sum to 1.
        seed: seed of the order.

    Raises:
        LotteryError: the shares do not sum to 1, a portion is empty, or the subset is too large.
    """
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise LotteryError(
            f"--shares {','.join(f'{share:g}' for share in shares)} do not fit; give three shares"
            " above 0 that sum to 1"
        )
    if of > _MOST:
        raise LotteryError(f"a subset of {of} sentences is too large; at most {_MOST}")
    ranks = raw_bits(f"probe-split|{seed}", of)
    ordered = np.array(numbers)[np.argsort(ranks[np.array(numbers)], kind="stable")]
    ends = np.rint(np.cumsum(shares) * len(ordered)).astype(int)
    portions = {
        name: ordered[start:end] for name, start, end in zip(PORTIONS, [0, *ends[:-1]], ends)
    }
    if min(map(len, portions.values())) == 0:
        raise LotteryError(
            f"{len(ordered)} sentences are too few to divide by --shares; record more"
        )
    return portions
