"""Gates that learn whether they are open: Hard Concrete gates with a target number of open ones.

Voita et al. 2019, sections 5.1 and 5.2, after Louizos et al. 2018: each gate is drawn from a
distribution with mass at exactly 0 and exactly 1, and the expected number of open gates is part of
the loss. In the paper the user sets the weight of this part; here the user sets the target number,
and the weight adapts.
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
#: initial parameter: the gate is 1 in evaluation, and sometimes drawn below 1
_START = 3.0
#: fairseq has one learning rate, suited to weights; gates have to move from 3 to -3
_SPEED = 20.0
#: growth of the penalty's weight per excess, and the weight of the squared excess
_GAIN, _STIFFNESS = 0.05, 100.0


def drawn(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Return gates in [0, 1], drawn with ``uniform`` numbers in (0, 1)."""
    uniform = uniform.clamp(_EPSILON, 1 - _EPSILON)
    noise = uniform.log() - (1 - uniform).log()
    return _stretched(torch.sigmoid((noise + log_alpha) / BETA))


def settled(log_alpha: Tensor) -> Tensor:
    """Return gates in [0, 1] as they are in evaluation."""
    return _stretched(torch.sigmoid(log_alpha))


def _stretched(gate: Tensor) -> Tensor:
    return (gate * (HIGH - LOW) + LOW).clamp(0, 1)


def probability_open(log_alpha: Tensor) -> Tensor:
    """Return P(gate > 0)."""
    return torch.sigmoid(log_alpha - BETA * math.log(-LOW / HIGH))


def probabilities(theta: Tensor) -> Tensor:
    """Return P(gate > 0) for stored parameters, in fp64 on the CPU."""
    return probability_open(theta.detach().double().cpu() * _SPEED)


class LearnedGates(nn.Module):
    """Gates of some kinds of components, and the penalty that keeps a target number of each open.

    The penalty of a kind is w d + 100 d^2. d is the expected share of open gates minus the target
    share. w increases by a twentieth of d with each update of the optimizer
    (a Lagrangian multiplier, by gradient ascent). The target decreases linearly from all gates
    during the first updates. ``advance`` counts the updates: one may take several forward passes
    (``--update-freq``), and a batch whose gradients overflow does not count.

    Args:
        anatomy: anatomy of the model.
        targets: kind -> number of gates that stay open.
        anneal: updates until the targets apply in full.
    """

    #: updates of the optimizer so far
    steps: Tensor

    def __init__(self, anatomy: Anatomy, targets: Mapping[str, int], anneal: int) -> None:
        super().__init__()
        self.anatomy, self.targets, self.anneal = anatomy, dict(targets), max(anneal, 1)
        if not targets:
            raise LotteryError(
                "no gates to learn; give --open-heads, --open-units or --open-blocks"
            )
        for kind in targets:
            start = torch.full((anatomy.count(kind),), _START / _SPEED)
            setattr(self, f"theta_{kind}", nn.Parameter(start))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        # fp64: in the half precision that fairseq casts a criterion to, small steps would be lost
        self.weight = dict.fromkeys(targets, 0.0)
        #: kind -> share that is open in excess of the target, in the latest training pass
        self._excess: dict[str, float] = {}

    def _log_alpha(self, kind: str) -> Tensor:
        """Return the parameter of each gate of a kind, in fp32 and in the anatomy's order."""
        theta: Tensor = getattr(self, f"theta_{kind}")
        return theta.float() * _SPEED

    def values(self) -> dict[str, dict[str, Tensor]]:
        """Return kind -> module -> gates: drawn in training, settled in evaluation."""
        values = {}
        for kind in self.targets:
            gates = self._log_alpha(kind)
            gates = drawn(gates, torch.rand_like(gates)) if self.training else settled(gates)
            values[kind] = self.anatomy.split(kind, gates)
        return values

    def penalty(self) -> Tensor:
        """Return the term that is added to the loss per token."""
        reached = min(int(self.steps) / self.anneal, 1.0)
        penalty = torch.zeros((), device=self.steps.device)
        for kind, target in self.targets.items():
            target_share = 1 - reached * (1 - target / self.anatomy.count(kind))
            excess = probability_open(self._log_alpha(kind)).mean() - target_share
            penalty = penalty + self.weight[kind] * excess + _STIFFNESS * excess**2
            if self.training:
                self._excess[kind] = float(excess.detach())
        return penalty

    def advance(self) -> None:
        """Count an update of the optimizer, and raise the weights by the excess before it."""
        for kind, excess in self._excess.items():
            self.weight[kind] += _GAIN * excess
        self._excess.clear()
        self.steps += 1

    def expected(self, kind: str) -> float:
        """Return the expected number of open gates of a kind."""
        return float(probability_open(self._log_alpha(kind)).sum().detach())

    def get_extra_state(self) -> dict[str, Any]:
        """Return the weights of the penalties and the targets, for the state dict."""
        return {"weight": dict(self.weight), "targets": dict(self.targets), "anneal": self.anneal}

    def set_extra_state(self, state: Any) -> None:
        """Load the weights; the targets are those of the constructor."""
        self.weight = {kind: float(state["weight"][kind]) for kind in self.targets}
