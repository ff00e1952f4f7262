"""Importance at every step of a search: its file, its evolution, its agreement over seeds."""

import json
import math

import numpy as np
import pytest
import torch

pytest.importorskip("scipy")

from fairseq_lottery.errors import LotteryError  # noqa: E402
from fairseq_lottery.heads.components.anatomy import Anatomy  # noqa: E402
from fairseq_lottery.heads.components.component_mask import ComponentMask  # noqa: E402
from fairseq_lottery.heads.measures.importance_steps import (  # noqa: E402
    agreement_by_step,
    evolution,
)
from fairseq_lottery.heads.searches.importance_file import (  # noqa: E402
    StepImportance,
    is_importance_steps,
    load_importance_steps,
    save_importance_steps,
)

FIRST, SECOND = "encoder.layers.0.self_attn", "decoder.layers.0.encoder_attn"
ANATOMY = Anatomy({FIRST: 4, SECOND: 4}, {"encoder.layers.0": 3})


def step(heads, closed=None, units=(1.0, 2.0, 3.0)):
    components = ComponentMask(ANATOMY, {"heads": closed or {}})
    scores = {
        "heads": {name: torch.tensor(heads[n : n + 4], dtype=torch.float64)
                  for n, name in ((0, FIRST), (4, SECOND))},
        "units": {"encoder.layers.0": torch.tensor(units, dtype=torch.float64)},
        "blocks": {"encoder.layers.0": torch.tensor([0.5], dtype=torch.float64)},
    }  # fmt: skip
    return StepImportance(components, scores)


def ranks(values):
    """Mean ranks, by counting."""
    return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]


def spearman(a, b):
    """Pearson's correlation of ranks."""
    return np.corrcoef(ranks(a), ranks(b))[0, 1]


def kendall(a, b):
    """Concordant minus discordant pairs, without ties."""
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    return sum(np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in pairs) / len(pairs)


BEFORE = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
AFTER = [9.0, 2.0, 1.0, 7.0, 3.0, 0.5, 8.0, 4.0]


def test_a_step_is_compared_over_what_it_keeps():
    closed = {FIRST: [0, 3], SECOND: [1]}
    kept = [1, 2, 4, 6, 7]
    first, second = evolution([step(BEFORE), step(AFTER, closed)])
    assert (first.step, first.kept, first.components, first.spearman) == (1, (8,), 8, 1.0)
    assert (second.step, second.kept, second.components) == (2, (5,), 5)
    pair = [[values[n] for n in kept] for values in (BEFORE, AFTER)]
    assert second.spearman == pytest.approx(spearman(*pair))
    assert second.kendall == pytest.approx(kendall(*pair))
    assert second.spearman != pytest.approx(spearman(BEFORE, AFTER))
    pruned = [v if n in kept else 1e9 * (n + 1) for n, v in enumerate(AFTER)]
    assert evolution([step(BEFORE), step(pruned, closed)])[1] == second


def test_searches_of_seeds_agree_at_each_step_over_pairs():
    third = [3.0, 1.0, 2.0, 8.0, 4.0, 7.0, 5.0, 6.0]
    searches = [
        [step(BEFORE), step(BEFORE, {FIRST: [0]})],
        [step(AFTER), step(AFTER, {FIRST: [1]}), step(AFTER, {FIRST: [1, 2]})],
        [step(third), step(third, {FIRST: [0]})],
    ]
    found = agreement_by_step(searches)
    assert [(one.step, one.kept) for one in found] == [(1, (8, 8, 8)), (2, (7, 7, 7))]
    lists = (BEFORE, AFTER, third)
    for one, removed in zip(found, ((set(), set(), set()), ({0}, {1}, {0}))):
        expected = []
        for a, b in ((0, 1), (0, 2), (1, 2)):
            both = [n for n in range(8) if n not in removed[a] | removed[b]]
            expected.append(spearman([lists[a][n] for n in both], [lists[b][n] for n in both]))
        assert one.spearman == pytest.approx(np.mean(expected))
    assert [one.components for one in found] == [8, (6 + 7 + 6) / 3]


def test_nothing_to_correlate_is_nan_and_never_counts():
    everything = {FIRST: [0, 1, 2, 3], SECOND: [0, 1, 2]}
    last = evolution([step(BEFORE), step(AFTER, everything)])[1]
    assert last.components == 1 and math.isnan(last.spearman) and math.isnan(last.kendall)
    searches = [[step([1.0] * 8)], [step(BEFORE)], [step(BEFORE)]]
    assert agreement_by_step(searches)[0].spearman == 1.0


def test_other_kinds():
    steps = [step(BEFORE), step(AFTER, units=(3.0, 2.0, 1.0))]
    assert evolution(steps, "units")[1].spearman == -1.0
    assert math.isnan(evolution(steps, "blocks")[1].spearman)


def test_they_come_back_with_six_digits(tmp_path):
    path = tmp_path / "s-importance.json"
    steps = [step(BEFORE), step([1 / 3] * 8, {FIRST: [2]})]
    save_importance_steps(path, steps, ["heads", "blocks"], {"seed": 1})
    assert is_importance_steps(path)
    first, second = load_importance_steps(path)
    assert second.components == steps[1].components and set(first.scores) == {"heads", "blocks"}
    assert torch.equal(first.scores["heads"][SECOND], steps[0].scores["heads"][SECOND])
    assert second.scores["heads"][FIRST].tolist() == [0.333333] * 4
    assert evolution([first, second])[0].spearman == 1.0
    with pytest.raises(LotteryError, match="the searches have no importance of all units"):
        evolution([first, second], "units")
    with pytest.raises(LotteryError, match="exists already"):
        save_importance_steps(path, steps, ["heads"], {})


def broken(**changes):
    def change(content):
        content.update(changes)

    return change


@pytest.mark.parametrize(("change", "message"), [
    (broken(format="fairseq_lottery parts 1"), "is not a file of importance at every step"),
    (broken(estimates=[]), "estimates must be a list with at least one entry"),
    (broken(estimates=5), "estimates must be a list"),
    (broken(estimates=[5]), "an estimate must have closed and scores"),
    (broken(mode="half"), "mode 'half' of pruned heads is unknown"),
    (broken(heads={}), "it has scores of heads that the model does not have"),
    (lambda c: c["estimates"][1].pop("closed"), "closed must map heads, units, blocks"),
    (lambda c: c["estimates"][1]["scores"].update(heads=5), "it has scores of heads that"),
    (lambda c: c["estimates"][1]["scores"]["heads"][FIRST].pop(), "must be 4 numbers in a list"),
    (lambda c: c.update(units={"encoder.layers.0": 1 << 21}, estimates=c["estimates"] * 9),
     "it has more than 16777216 scores"),
])  # fmt: skip
def test_malformed_files_are_one_sentence(tmp_path, change, message):
    path = tmp_path / "s.json"
    save_importance_steps(path, [step(BEFORE), step(AFTER, {FIRST: [2]})], ["heads"], {})
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(LotteryError, match=message):
        load_importance_steps(path)


def test_searches_that_do_not_compare():
    other = Anatomy({FIRST: 4}, {})
    alone = StepImportance(
        ComponentMask(other, {}), {"heads": {FIRST: torch.ones(4, dtype=torch.float64)}}
    )
    with pytest.raises(LotteryError, match="the searches are of different models"):
        agreement_by_step([[step(BEFORE)], [alone]])
    with pytest.raises(LotteryError, match="agreement needs at least two searches, not 1"):
        agreement_by_step([[step(BEFORE)]])
