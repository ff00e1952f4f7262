"""The Hard Concrete distribution by sampling, and the way to a target."""

import math

import pytest
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.gates.hard_concrete import (
    LearnedGates,
    drawn,
    probabilities,
    probability_open,
    settled,
)

NAMES = [f"encoder.layers.{n}.self_attn" for n in range(3)]
ANATOMY = Anatomy(dict.fromkeys(NAMES, 4), {"encoder.layers.0": 10})


@pytest.mark.parametrize("log_alpha", [-3.0, -0.8, 0.0, 1.0, 3.0])
def test_the_probability_of_an_open_gate(log_alpha):
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(200_000, generator=generator, dtype=torch.float64)
    gates = drawn(torch.tensor(log_alpha, dtype=torch.float64), uniform)
    expected = float(probability_open(torch.tensor(log_alpha)))
    assert float((gates > 0).double().mean()) == pytest.approx(expected, abs=5e-3)
    # 1 - P(gate = 1), from the other end of the stretched interval
    below = 1 / (1 + math.exp(log_alpha - 0.33 * math.log(1.1 / 0.1)))
    assert float((gates < 1).double().mean()) == pytest.approx(below, abs=5e-3)
    assert float(gates.min()) >= 0 and float(gates.max()) <= 1


def test_golden_values():
    """s = sigmoid((ln u - ln(1 - u) + a) / 0.33), clip(1.2 s - 0.1), worked out by hand."""
    gate = drawn(torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64))
    s = 1 / (1 + math.exp(-(math.log(0.4 / 0.6) + 0.5) / 0.33))
    assert float(gate) == pytest.approx(1.2 * s - 0.1)
    assert settled(torch.tensor([-3.0, 0.0, 3.0])).tolist() == [0.0, 0.5, 1.0]


def test_at_the_start_all_gates_are_open():
    gates = LearnedGates(ANATOMY, {"heads": 6, "units": 10}, 100).eval()
    found = gates.values()
    assert set(found) == {"heads", "units"} and list(found["heads"]) == NAMES
    assert all(bool((v == 1).all()) for modules in found.values() for v in modules.values())
    assert gates.expected("heads") == pytest.approx(12, abs=0.3)
    before = gates.penalty()
    assert gates.weight == {"heads": 0.0, "units": 0.0} and torch.equal(before, gates.penalty())


@pytest.mark.parametrize("target", [1, 5, 9])
def test_the_target_is_reached_and_the_worthless_close_first(target):
    """Gates of known worth against the penalty: the dearest stay open, up to neighbours."""
    torch.manual_seed(3)
    gates = LearnedGates(ANATOMY, {"heads": target}, 300)
    worth = torch.linspace(0.02, 0.5, 12)[torch.randperm(12)]
    optimizer = torch.optim.Adam(gates.parameters(), lr=1e-3)
    for _ in range(1500):
        values = torch.cat(list(gates.values()["heads"].values()))
        loss = (worth * (1 - values)).sum() + gates.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        gates.advance()
    gates.eval()
    settled_now = torch.cat(list(gates.values()["heads"].values()))
    assert gates.expected("heads") == pytest.approx(target, abs=0.6)
    assert abs(int((settled_now > 0.5).sum()) - target) <= 1
    chosen = probabilities(gates.theta_heads).argsort(descending=True)[:target]
    assert set(chosen.tolist()) <= set(worth.argsort(descending=True)[: target + 1].tolist())


def test_only_an_update_moves_the_target_and_the_weight():
    """However many forward passes it takes: --update-freq, or a batch that overflows."""
    gates = LearnedGates(ANATOMY, {"heads": 3}, 10)
    one = LearnedGates(ANATOMY, {"heads": 3}, 10)
    for update in range(1, 6):
        penalties = [gates.penalty() for _ in range(4)]
        assert all(torch.equal(penalty, one.penalty()) for penalty in penalties)
        assert int(gates.steps) == update - 1 and gates.weight["heads"] == one.weight["heads"]
        gates.advance()
        one.advance()
    # all but nothing is closed yet, and the target falls by 3/4 of the heads over 10 updates
    opened = float(probability_open(torch.tensor(3.0)))
    excess = [opened - (1 - update / 10 * 0.75) for update in range(5)]
    assert one.weight["heads"] == pytest.approx(0.05 * sum(excess), abs=1e-6)
    assert int(gates.steps) == 5 and gates.weight == one.weight


def test_the_state_goes_on():
    gates = LearnedGates(ANATOMY, {"heads": 3}, 10)
    for _ in range(5):
        gates.penalty()
        gates.advance()
    other = LearnedGates(ANATOMY, {"heads": 3}, 10)
    other.load_state_dict(gates.state_dict())
    assert other.weight == gates.weight and other.weight["heads"] > 0
    assert int(other.steps) == 5 and torch.equal(other.penalty(), gates.penalty())


def test_no_targets():
    with pytest.raises(LotteryError, match="no gates to learn"):
        LearnedGates(ANATOMY, {}, 10)
