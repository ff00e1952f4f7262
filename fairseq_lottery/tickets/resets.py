"""Resets: start values of the survivors.

A reset is a function from ``ResetInput`` to name -> full tensor of every parameter. Parameters
that are never pruned (biases, layer norms, matrices kept dense) come from the same weights as the
survivors. The caller sets pruned entries to zero afterwards.
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
from fairseq_lottery.masks.streams import normal, permutation, signs, torch_seed
from fairseq_lottery.options import Reset
from fairseq_lottery.options.axes import ALPHA, RESET

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class ResetInput:
    """Input of a reset.

    Attributes:
        mask: selects the survivors.
        trained: the weights that the mask was selected from.
        start: the weights at the rewind update.
        seed: seed of the draw.
        alpha: one of ``ALPHAS``, for resets that keep signs only.
        noise_scale: standard deviation of added noise, as a share of that of the survivors.
        initial: the weights at update 0, for ``alpha == "std"``.
        initialise: seed of torch -> fresh weights by the model's own initialiser.
    """

    mask: Mask
    trained: Weights
    start: Weights
    seed: int = 1
    alpha: str = Reset.alpha
    noise_scale: Optional[float] = None
    initial: Optional[Weights] = None
    initialise: Optional[Callable[[int], Weights]] = None


def _glorot(inputs: ResetInput, name: str) -> float:
    """Return sqrt(6 / (n_in + n_out)), the limit of Glorot's uniform initialiser (Brix et al.)."""
    return math.sqrt(6 / sum(inputs.mask[name].shape))


def _std(inputs: ResetInput, name: str) -> float:
    """Return the standard deviation at update 0 without the padding row (Zhou et al. 2019)."""
    if inputs.initial is None:
        raise LotteryError(
            "--alpha std requires the weights at update 0; start from a snapshot of update 0, or"
            " give one with --initial"
        )
    rows, row = inputs.initial[name], inputs.mask.protected.get(name)
    if row is not None:
        rows = torch.cat([rows[:row], rows[row + 1 :]])
    return float(rows.double().std(unbiased=False))


def _mean(inputs: ResetInput, name: str) -> float:
    """Return the mean magnitude of the survivors at the rewind update, without the padding row."""
    kept = inputs.start[name][prunable_survivors(inputs.mask, name)]
    return float(kept.double().abs().mean()) if kept.numel() else 0.0


ALPHAS: dict[str, Callable[[ResetInput, str], float]] = ALPHA.registry(
    {"glorot": _glorot, "std": _std, "mean": _mean}
)


def rewind(inputs: ResetInput) -> Weights:
    """Return the values at the rewind update: LT from update 0, SLT later (Brix et al., 2.2)."""
    return inputs.start


def keep(inputs: ResetInput) -> Weights:
    """Return the trained values: learning-rate rewinding or fine-tuning (Renda et al. 2020)."""
    return inputs.trained


def _constant(inputs: ResetInput, sign_of: Callable[[str], Tensor]) -> Weights:
    """Return ``sign_of`` times alpha; padding rows and dense parameters as in ``rewind``."""
    values = dict(inputs.start)
    for name in inputs.mask:
        values[name] = sign_of(name) * ALPHAS[inputs.alpha](inputs, name)
    for name, row in inputs.mask.protected.items():
        values[name][row] = inputs.start[name][row]
    return values


def sign(inputs: ResetInput) -> Weights:
    """Return the sign at the rewind update times alpha of the matrix: CLT (Brix et al., 2.3).

    Zero counts as positive. Biases, layer norms, matrices kept dense and the padding row
    keep their values at the rewind update.
    """
    return _constant(inputs, lambda name: torch.where(inputs.start[name] < 0, -1.0, 1.0))


def random_sign(inputs: ResetInput) -> Weights:
    """Return what ``sign`` returns but with random signs: the control of Brix et al. for CLT."""

    def draw_signs(name: str) -> Tensor:
        start = inputs.start[name]
        return signs(f"random-sign|{inputs.seed}|{name}", start.numel()).reshape(start.shape)

    return _constant(inputs, draw_signs)


def random(inputs: ResetInput) -> Weights:
    """Return fresh values of the model's own initialiser: a control for the start values.

    The initialiser's seed derives from the draw's seed but differs from it, so these values differ
    from those of a training with the same ``--seed``.

    Raises:
        LotteryError: fairseq is missing, or a matrix equals one in the sources of the draw.
    """
    if inputs.initialise is None:
        raise LotteryError(
            "--reset random requires fairseq to initialise the model; install fairseq"
        )
    fresh = inputs.initialise(torch_seed(f"random|{inputs.seed}"))
    for name in sorted(inputs.mask.keys() & fresh.keys()):
        value = fresh[name].float()
        if bool((value == value.reshape(-1)[:1]).all()):
            continue  # a constant initialiser returns the same values for every seed
        for weights in (inputs.start, inputs.trained, inputs.initial or {}):
            if name in weights and torch.equal(value, weights[name].float()):
                raise LotteryError(
                    f"the fresh values of {name} equal those in the sources of the draw, so they"
                    " are not a control; draw with another seed"
                )
    return fresh


def shuffle(inputs: ResetInput) -> Weights:
    """Return the survivors' values at the rewind update, permuted within each matrix."""
    values = dict(inputs.start)
    for name in inputs.mask:
        alive = prunable_survivors(inputs.mask, name)
        order = permutation(f"shuffle|{inputs.seed}|{name}", int(alive.sum()))
        values[name] = inputs.start[name].clone()
        values[name][alive] = inputs.start[name][alive][order]
    return values


#: stack and number of a layer
_LAYER = re.compile(r"^(.+?)\.layers\.(\d+)\.")


def shuffle_layers(inputs: ResetInput) -> Weights:
    """Return the values at the rewind update with layers permuted, as in Chen et al.'s code.

    The layers of each stack (encoder, decoder) are permuted among themselves; the mask is not.
    """
    stacks: dict[str, set[int]] = {}
    matches = [match for match in map(_LAYER.match, inputs.start) if match]
    for match in matches:
        stacks.setdefault(match.group(1), set()).add(int(match.group(2)))
    sources: dict[tuple[str, int], int] = {}
    for stack, numbers in stacks.items():
        layers = sorted(numbers)
        order = permutation(f"shuffle-layers|{inputs.seed}|{stack}", len(layers))
        sources.update({(stack, layer): layers[i] for layer, i in zip(layers, order.tolist())})
    values = dict(inputs.start)
    for match in matches:
        stack, layer = match.group(1), int(match.group(2))
        rest = match.string[match.end() :]
        values[match.string] = inputs.start[f"{stack}.layers.{sources[stack, layer]}.{rest}"]
    return values


def noise(inputs: ResetInput) -> Weights:
    """Return the values at the rewind update plus normal noise: a control for these values.

    The noise of a matrix has ``noise_scale`` times the standard deviation of its survivors.
    Everything that is never pruned keeps its value.
    """
    assert inputs.noise_scale is not None
    values = dict(inputs.start)
    for name in inputs.mask:
        alive = prunable_survivors(inputs.mask, name)
        kept = inputs.start[name][alive]
        if kept.numel():
            added = normal(f"noise|{inputs.seed}|{name}", kept.numel())
            spread = inputs.noise_scale * float(kept.double().std(unbiased=False))
            values[name] = inputs.start[name].clone()
            values[name][alive] = kept + spread * added
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
        "noise": noise,
    }
)
