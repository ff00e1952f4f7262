"""What survivors start from.

A reset is a function from ``ResetInput`` to name -> full tensor of every parameter. What is
never pruned (biases, layer norms, matrices kept dense) comes from the same place as the
survivors; pruned entries are zeroed afterwards by the caller.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class ResetInput:
    """What a reset may look at.

    Attributes:
        mask: which weights survive.
        trained: the weights that the mask was drawn from.
        start: the weights at the rewind update.
        seed: of the draw.
        alpha: one of ``ALPHAS``, for resets that keep signs only.
        initial: the weights at update 0, for ``alpha == "std"``.
        initialise: seed -> fresh weights by the model's own initialiser.
    """

    mask: Mask
    trained: Weights
    start: Weights
    seed: int = 1
    alpha: str = "glorot"
    initial: Optional[Weights] = None
    initialise: Optional[Callable[[int], Weights]] = None


def _generator(given: ResetInput, name: str) -> np.random.Generator:
    key = hashlib.sha256(f"reset|{given.seed}|{name}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8")))


def _prunable_rows(given: ResetInput, name: str, matrix: Tensor) -> Tensor:
    row = given.mask.protected.get(name)
    return matrix if row is None else torch.cat([matrix[:row], matrix[row + 1 :]])


def _glorot(given: ResetInput, name: str) -> float:
    """sqrt(6 / (n_in + n_out)), the limit of Glorot's uniform initialiser (Brix et al.)."""
    return math.sqrt(6 / sum(given.mask[name].shape))


def _std(given: ResetInput, name: str) -> float:
    """Standard deviation of the matrix at update 0 (Zhou et al. 2019), padding row left out."""
    if given.initial is None:
        raise LotteryError(
            "--alpha std needs the weights at update 0; start from a snapshot of update 0 or"
            " name one with --initial"
        )
    return float(_prunable_rows(given, name, given.initial[name]).double().std(unbiased=False))


def _mean(given: ResetInput, name: str) -> float:
    """Mean magnitude of the survivors at the rewind update, padding row left out."""
    rows, keep = (_prunable_rows(given, name, t[name]) for t in (given.start, given.mask))
    kept = rows[keep]
    return float(kept.double().abs().mean()) if kept.numel() else 0.0


ALPHAS: dict[str, Callable[[ResetInput, str], float]] = {
    "glorot": _glorot,
    "std": _std,
    "mean": _mean,
}


def rewind(given: ResetInput) -> Weights:
    """Values at the rewind update: LT at update 0, SLT later (Brix et al., section 2.2)."""
    return given.start


def keep(given: ResetInput) -> Weights:
    """The trained values: learning-rate rewinding or fine-tuning (Renda et al. 2020)."""
    return given.trained


def _constant(given: ResetInput, signs: Callable[[str], Tensor]) -> Weights:
    """``signs`` times alpha of the matrix; a padding row and what is dense is as in rewind."""
    values = dict(given.start)
    for name in given.mask:
        values[name] = signs(name) * ALPHAS[given.alpha](given, name)
        if name in given.mask.protected:
            row = given.mask.protected[name]
            values[name][row] = given.start[name][row]
    return values


def sign(given: ResetInput) -> Weights:
    """Sign at the rewind update times alpha of the matrix: CLT (Brix et al., section 2.3).

    An exact zero counts as positive. Biases, layer norms, matrices that are kept dense and
    the padding row keep their values at the rewind update.
    """
    return _constant(given, lambda name: torch.where(given.start[name] < 0, -1.0, 1.0))


def random_sign(given: ResetInput) -> Weights:
    """As ``sign`` with fair random signs: the control of Brix et al. for CLT."""

    def signs(name: str) -> Tensor:
        bits = _generator(given, name).integers(0, 2, tuple(given.start[name].shape), np.int8)
        return torch.from_numpy(bits).float() * 2 - 1

    return _constant(given, signs)


def random(given: ResetInput) -> Weights:
    """Fresh values of the model's own initialiser, under a new seed."""
    if given.initialise is None:
        raise LotteryError("--reset random needs fairseq, to build the model anew; install it")
    return given.initialise(given.seed)


def shuffle(given: ResetInput) -> Weights:
    """The survivors' values at the rewind update, permuted within each matrix."""
    values = dict(given.start)
    for name, kept in given.mask.items():
        alive = kept.clone()
        if name in given.mask.protected:
            alive[given.mask.protected[name]] = False
        order = _generator(given, name).permutation(int(alive.sum()))
        shuffled = given.start[name].clone()
        shuffled[alive] = given.start[name][alive][torch.from_numpy(order)]
        values[name] = shuffled
    return values


_LAYER = re.compile(r"^(encoder|decoder)\.layers\.(\d+)\.")


def shuffle_layers(given: ResetInput) -> Weights:
    """Values at the rewind update with whole layers permuted, as in Chen et al.'s code.

    The mask stays where it is; encoder and decoder layers change places among themselves.
    """
    values = dict(given.start)
    for side in ("encoder", "decoder"):
        found = (_LAYER.match(name) for name in given.start)
        layers = sorted({int(m.group(2)) for m in found if m and m.group(1) == side})
        order = _generator(given, side).permutation(len(layers))
        source = {layer: layers[i] for layer, i in zip(layers, order)}
        for name in given.start:
            match = _LAYER.match(name)
            if match and match.group(1) == side:
                rest = name[match.end() :]
                values[name] = given.start[f"{side}.layers.{source[int(match.group(2))]}.{rest}"]
    return values


RESETS: dict[str, Callable[[ResetInput], Weights]] = {
    "rewind": rewind,
    "sign": sign,
    "keep": keep,
    "random": random,
    "random-sign": random_sign,
    "shuffle": shuffle,
    "shuffle-layers": shuffle_layers,
}
