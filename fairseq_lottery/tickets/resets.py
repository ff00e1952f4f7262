"""What survivors start from.

A reset is a function from ``ResetInput`` to name -> full tensor of every parameter. What is
never pruned (biases, layer norms, matrices kept dense) comes from the same place as the
survivors; pruned entries are zeroed afterwards by the caller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.mask_state import prunable_survivors
from fairseq_lottery.masks import Mask
from fairseq_lottery.masks.streams import permutation, signs, torch_seed
from fairseq_lottery.options import Reset
from fairseq_lottery.options.axes import ALPHA, RESET

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
        initialise: seed of torch -> fresh weights by the model's own initialiser.
    """

    mask: Mask
    trained: Weights
    start: Weights
    seed: int = 1
    alpha: str = Reset.alpha
    initial: Optional[Weights] = None
    initialise: Optional[Callable[[int], Weights]] = None


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
    rows, row = given.initial[name], given.mask.protected.get(name)
    if row is not None:
        rows = torch.cat([rows[:row], rows[row + 1 :]])
    return float(rows.double().std(unbiased=False))


def _mean(given: ResetInput, name: str) -> float:
    """Mean magnitude of the survivors at the rewind update, padding row left out."""
    kept = given.start[name][prunable_survivors(given.mask, name)]
    return float(kept.double().abs().mean()) if kept.numel() else 0.0


ALPHAS: dict[str, Callable[[ResetInput, str], float]] = ALPHA.registry(
    {"glorot": _glorot, "std": _std, "mean": _mean}
)


def rewind(given: ResetInput) -> Weights:
    """Values at the rewind update: LT at update 0, SLT later (Brix et al., section 2.2)."""
    return given.start


def keep(given: ResetInput) -> Weights:
    """The trained values: learning-rate rewinding or fine-tuning (Renda et al. 2020)."""
    return given.trained


def _constant(given: ResetInput, sign_of: Callable[[str], Tensor]) -> Weights:
    """``sign_of`` times alpha of the matrix; a padding row and what is dense is as in rewind."""
    values = dict(given.start)
    for name in given.mask:
        values[name] = sign_of(name) * ALPHAS[given.alpha](given, name)
    for name, row in given.mask.protected.items():
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

    def drawn(name: str) -> Tensor:
        start = given.start[name]
        return signs(f"random-sign|{given.seed}|{name}", start.numel()).reshape(start.shape)

    return _constant(given, drawn)


def random(given: ResetInput) -> Weights:
    """Return fresh values of the model's own initialiser: the control of the start values.

    The initialiser's seed comes from the draw's, but is never one of a training: a model that was
    initialised under ``--seed`` N differs from what seed N draws here.

    Raises:
        LotteryError: fairseq is missing, or a matrix equals the one that it should be a control of.
    """
    if given.initialise is None:
        raise LotteryError("--reset random needs fairseq, to build the model anew; install it")
    fresh = given.initialise(torch_seed(f"random|{given.seed}"))
    for name in sorted(given.mask.keys() & fresh.keys()):
        value = fresh[name].float()
        if bool((value == value.reshape(-1)[:1]).all()):
            continue  # an initialiser that gives a constant gives it under every seed
        for weights in (given.start, given.trained, given.initial or {}):
            if name in weights and torch.equal(value, weights[name].float()):
                raise LotteryError(
                    f"the fresh {name} equals the one in the files that the ticket is drawn from,"
                    " so it is not a control; draw with another seed"
                )
    return fresh


def shuffle(given: ResetInput) -> Weights:
    """The survivors' values at the rewind update, permuted within each matrix."""
    values = dict(given.start)
    for name in given.mask:
        alive = prunable_survivors(given.mask, name)
        order = permutation(f"shuffle|{given.seed}|{name}", int(alive.sum()))
        values[name] = given.start[name].clone()
        values[name][alive] = given.start[name][alive][order]
    return values


#: the stack that a layer is in, and the number of the layer
_LAYER = re.compile(r"^(.+?)\.layers\.(\d+)\.")


def shuffle_layers(given: ResetInput) -> Weights:
    """Values at the rewind update with whole layers permuted, as in Chen et al.'s code.

    The mask stays where it is; the layers of each stack (encoder, decoder) change places among
    themselves.
    """
    stacks: dict[str, set[int]] = {}
    matches = [match for match in map(_LAYER.match, given.start) if match]
    for match in matches:
        stacks.setdefault(match.group(1), set()).add(int(match.group(2)))
    sources: dict[tuple[str, int], int] = {}
    for stack, numbers in stacks.items():
        layers = sorted(numbers)
        order = permutation(f"shuffle-layers|{given.seed}|{stack}", len(layers))
        sources.update({(stack, one): layers[i] for one, i in zip(layers, order.tolist())})
    values = dict(given.start)
    for match in matches:
        stack, layer = match.group(1), int(match.group(2))
        rest = match.string[match.end() :]
        values[match.string] = given.start[f"{stack}.layers.{sources[stack, layer]}.{rest}"]
    return values


RESETS: dict[str, Callable[[ResetInput], Weights]] = RESET.registry(
    {
        "rewind": rewind,
        "sign": sign,
        "keep": keep,
        "random": random,
        "random-sign": random_sign,
        "shuffle": shuffle,
        "shuffle-layers": shuffle_layers,
    }
)
