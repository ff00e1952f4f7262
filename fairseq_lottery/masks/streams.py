"""Random numbers that depend only on a purpose, a seed and a name.

Two purposes never share a stream: a random mask, random signs, a shuffle and a fresh initialisation
with the same seed are independent of each other and of the training. Only raw bits of Philox are
used: they are the same in all versions of numpy, but numpy's distributions are not. So every rank
and every software version draws the same numbers. No global generator is read or changed.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def stream(key: str) -> np.random.Philox:
    """Return Philox, keyed by the SHA-256 of ``key``: the purpose, the seed and a name."""
    digest = hashlib.sha256(key.encode()).digest()[:16]
    return np.random.Philox(key=np.frombuffer(digest, dtype="<u8"))


def raw_bits(key: str, count: int) -> np.ndarray:
    """Return ``count`` random 64-bit numbers of the stream of ``key``."""
    return np.asarray(stream(key).random_raw(count), dtype="<u8")


def uniform(key: str, count: int) -> Tensor:
    """Return ``count`` fp32 numbers, uniform over the multiples of 2^-24 in [0, 1)."""
    halves = raw_bits(key, (count + 1) // 2).view("<u4")[:count]
    return torch.from_numpy((halves >> np.uint32(8)).astype(np.float32) * np.float32(2**-24))


def normal(key: str, count: int) -> Tensor:
    """Return ``count`` numbers of the standard normal distribution in fp32.

    They are quantiles of 53 random bits each, so software versions may differ in the last bit.
    """
    shares = (raw_bits(key, count) >> np.uint64(11)).astype(np.float64) + 0.5
    return torch.special.ndtri(torch.from_numpy(shares * 2**-53)).float()


def signs(key: str, count: int) -> Tensor:
    """Return ``count`` fair signs, -1.0 or 1.0 in fp32."""
    octets = raw_bits(key, (count + 63) // 64).view("u1")
    return torch.from_numpy(np.unpackbits(octets)[:count].astype(np.float32)) * 2 - 1


def permutation(key: str, count: int) -> Tensor:
    """Return the numbers 0 to ``count`` - 1 in random order."""
    return torch.from_numpy(np.argsort(raw_bits(key, count), kind="stable"))


def torch_seed(key: str) -> int:
    """Return a seed of torch's generator that is at least 2^31, unlike seeds of trainings.

    fairseq seeds torch with ``--seed`` to initialise a model, and with ``--seed`` plus the update
    for dropout. torch's generator on the CPU uses the lower 32 bits.
    """
    return 2**31 + int(raw_bits(key, 1)[0]) % 2**31


def order_seed(data_seed: int) -> int:
    """Return the seed that fairseq shuffles the training examples with, for a ``--data-seed``.

    fairseq adds the epoch to it, so the orders of data seeds 1 and 2 would be the same, shifted by
    an epoch, and a data seed near ``--seed`` would replay the orders of the training. It is from
    2^30 to 2^31 - 1: far from usual seeds, and numpy accepts it with any epoch added.
    """
    return 2**30 + int(raw_bits(f"data-order|{data_seed}", 1)[0]) % 2**30
