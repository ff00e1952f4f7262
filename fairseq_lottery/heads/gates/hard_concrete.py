"""Gates that learn whether they are open: Hard Concrete ones, towards a number of open parts.

Voita et al. 2019, sections 5.1 and 5.2, after Louizos et al. 2018: each gate is drawn from a
distribution with mass at exactly 0 and exactly 1, and the expected number of open gates is part of
the loss. There its weight is set by hand; here a target is, and the weight follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy

#: temperature, and the ends of the stretched interval that is clipped to [0, 1]
BETA, LOW, HIGH = 0.33, -0.1, 1.1
_EPSILON = 1e-6
#: a gate that starts here is 1 in evaluation, and drawn below 1 now and then
_START = 3.0
#: fairseq's one learning rate is made for weights; gates have to go from 3 to -3
_SPEED = 20.0
#: how fast the weight of the penalty follows the distance to the target, and its square's weight
_GAIN, _STIFFNESS = 0.05, 100.0


def drawn(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Gates in [0, 1] out of ``uniform`` numbers in (0, 1)."""
    uniform = uniform.clamp(_EPSILON, 1 - _EPSILON)
    noise = uniform.log() - (1 - uniform).log()
    return _stretched(torch.sigmoid((noise + log_alpha) / BETA))


def settled(log_alpha: Tensor) -> Tensor:
    """Gates in [0, 1] as they are in evaluation."""
    return _stretched(torch.sigmoid(log_alpha))


def _stretched(gate: Tensor) -> Tensor:
    return (gate * (HIGH - LOW) + LOW).clamp(0, 1)


def probability_open(log_alpha: Tensor) -> Tensor:
    """P(gate > 0)."""
    return torch.sigmoid(log_alpha - BETA * math.log(-LOW / HIGH))


def probabilities(theta: Tensor) -> Tensor:
    """P(gate > 0) of stored parameters, in fp64 on the CPU."""
    return probability_open(theta.detach().double().cpu() * _SPEED)


class LearnedGates(nn.Module):
    """Gates of some kinds of parts, and the penalty that leaves a target of each open.

    The penalty of a kind is w d + 100 d^2, d being the share of its parts that is expected to be
    open beyond the target; w rises by a twentieth of d with each update of the optimizer (a
    Lagrangian multiplier, by gradient ascent). The target falls evenly from all parts over the
    first updates. ``advance`` counts the updates: one may take several forward passes
    (``--update-freq``), and a batch whose gradients overflow does not count.

    Args:
        anatomy: of the model.
        targets: kind -> how many of its parts shall stay open.
        anneal: updates until the targets count in full.
    """

    #: updates of the optimizer so far
    steps: Tensor

    def __init__(self, anatomy: Anatomy, targets: Mapping[str, int], anneal: int) -> None:
        super().__init__()
        self.anatomy, self.targets, self.anneal = anatomy, dict(targets), max(anneal, 1)
        if not targets:
            raise LotteryError(
                "nothing is to be learned; say how many parts shall stay open with --open-heads,"
                " --open-units or --open-blocks"
            )
        for kind, target in targets.items():
            total = self._total(kind)
            if not 0 < target <= total:
                raise LotteryError(
                    f"--open-{kind} {target} is not among 1 to {total}, the {kind} of the model"
                )
            setattr(self, f"theta_{kind}", nn.Parameter(torch.full((total,), _START / _SPEED)))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        # fp64, so that no half precision that fairseq casts a criterion to makes it stand still
        self.weight = dict.fromkeys(targets, 0.0)
        #: kind -> share that is open beyond the target, in the latest training pass
        self._excess: dict[str, float] = {}

    def _total(self, kind: str) -> int:
        return sum(self.anatomy.sizes[kind].values())

    def _log_alpha(self, kind: str) -> Tensor:
        """The parameter of each gate of a kind, in fp32 and in the anatomy's order."""
        theta: Tensor = getattr(self, f"theta_{kind}")
        return theta.float() * _SPEED

    def values(self) -> dict[str, dict[str, Tensor]]:
        """Kind -> module -> gates: drawn in training, one each a step, settled in evaluation."""
        found = {}
        for kind in self.targets:
            log_alpha = self._log_alpha(kind)
            draws = drawn(log_alpha, torch.rand_like(log_alpha)) if self.training else None
            gates = settled(log_alpha) if draws is None else draws
            found[kind] = self.anatomy.split(kind, gates)
        return found

    def penalty(self) -> Tensor:
        """Return what the loss per token is raised by."""
        reached = min(int(self.steps) / self.anneal, 1.0)
        penalty = torch.zeros((), device=self.steps.device)
        for kind, target in self.targets.items():
            wanted = 1 - reached * (1 - target / self._total(kind))
            excess = probability_open(self._log_alpha(kind)).mean() - wanted
            penalty = penalty + self.weight[kind] * excess + _STIFFNESS * excess**2
            if self.training:
                self._excess[kind] = float(excess.detach())
        return penalty

    def advance(self) -> None:
        """Count an update of the optimizer, and raise the weights by what it started with."""
        for kind, excess in self._excess.items():
            self.weight[kind] += _GAIN * excess
        self._excess.clear()
        self.steps += 1

    def expected(self, kind: str) -> float:
        """How many parts of a kind are expected to be open."""
        return float(probability_open(self._log_alpha(kind)).sum().detach())

    def get_extra_state(self) -> dict[str, Any]:
        """The weights of the penalties and what is to be reached, for the state dict."""
        return {"weight": dict(self.weight), "targets": dict(self.targets), "anneal": self.anneal}

    def set_extra_state(self, state: Any) -> None:
        """Take the weights; what is to be reached is as it was built."""
        self.weight = {kind: float(state["weight"][kind]) for kind in self.targets}
