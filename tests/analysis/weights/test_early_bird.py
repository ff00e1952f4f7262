"""Distances of masks drawn along one training."""

import json

import numpy as np
import pytest
import torch
from small import full_mask, save_checkpoint, save_snapshot_of, weights

from fairseq_lottery.analysis.weights.early_bird import (
    all_distances,
    distance_by_chance,
    distance_rows,
    draw_along,
    first_early_bird,
    mask_distance,
)
from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask


def mask(text):
    return Mask({"m": torch.tensor([[letter == "x" for letter in text]])})


def flat(one):
    """All prunable bits of a mask, by numpy."""
    rows = one.protected
    return np.concatenate(
        [np.delete(k.numpy(), [rows[n]] if n in rows else [], 0).ravel() for n, k in one.items()]
    )


@pytest.fixture
def run(tmp_path):
    """Weights that move less and less: snapshots of updates 0 to 50, and the last checkpoint."""
    steps = [weights(seed) for seed in range(7)]
    now = {name: w.clone() for name, w in steps[0].items()}
    for number in range(6):
        save_snapshot_of(tmp_path / f"snapshot_{10 * number}.safetensors", now, 10 * number)
        now = {name: w + steps[number + 1][name] / 3**number for name, w in now.items()}
    save_checkpoint(tmp_path / "checkpoint_last.pt", now, update=60)
    save_checkpoint(tmp_path / "checkpoint_best.pt", steps[3], update=45)
    return tmp_path


def test_a_worked_example():
    assert mask_distance(mask("xx.."), mask("x.x.")) == 0.5
    assert mask_distance(mask("xx.."), mask("xx..")) == 0
    assert mask_distance(mask("xx.."), mask("..xx")) == 1
    assert distance_by_chance(mask("xx.."), mask("x.x.")) == 0.5
    assert distance_by_chance(mask("xxx."), mask("x...")) == (1 * 1 + 3 * 3) / 16
    # of two of four weights each: half of the weights is pruned in both, the others differ by half
    own = mask("xx..")
    assert distance_by_chance(mask("x..."), mask(".x.."), own, own) == 2 * 0.5 * 0.5 * 2 / 4
    assert distance_by_chance(mask("x..."), mask("..x."), own, mask("..xx")) == 2 / 4
    assert distance_by_chance(mask("x..."), mask("xx.."), own) == (1 + 2 - 2 * 0.5 * 0.5 * 2) / 4


def test_chance_under_a_shared_mask_is_that_of_independent_draws():
    """To 70 % from the survivors of 50 %: 0.24 by numpy; 0.42 without the shared mask."""
    chance = np.random.default_rng(0)
    own = np.zeros(20000, dtype=bool)
    own[chance.permutation(20000)[:10000]] = True

    def draw():
        kept = np.zeros(20000, dtype=bool)
        kept[chance.choice(np.flatnonzero(own), 6000, replace=False)] = True
        return Mask({"m": torch.from_numpy(kept)[None]})

    a, b, shared = draw(), draw(), Mask({"m": torch.from_numpy(own)[None]})
    assert distance_by_chance(a, b, shared, shared) == pytest.approx(0.24, abs=1e-12)
    assert mask_distance(a, b) == pytest.approx(0.24, abs=0.01)
    assert distance_by_chance(a, b) == pytest.approx(0.42, abs=1e-12)


def test_it_is_numpys_count_and_padding_does_not_dilute_it(run):
    drawn = draw_along(run, 0.8)
    assert [one.update for one in drawn] == [0, 10, 20, 30, 40, 50, 60]
    distances = all_distances([one.mask for one in drawn])
    assert np.array_equal(distances, distances.T)
    for row, a in enumerate(drawn):
        for column, b in enumerate(drawn):
            expected = np.mean(flat(a.mask) != flat(b.mask))
            assert distances[row, column] == pytest.approx(expected)


def test_masks_are_those_of_the_largest_weights(run):
    first = draw_along(run, 0.75, scope="global")[0].mask
    kept = flat(first)
    every = np.concatenate(
        [
            np.delete(weights(0)[n].numpy(), [1] if n in first.protected else [], 0).ravel()
            for n in first
        ]
    )
    order = np.argsort(np.abs(every), kind="stable")
    assert set(np.flatnonzero(kept)) == set(order[-kept.sum() :])
    assert kept.mean() == pytest.approx(0.25, abs=1e-3)


def test_the_first_of_close_masks():
    positions = np.array([0.0, 1.0, 1.5, 1.55, 1.59, 1.59, 1.59])
    distances = np.abs(positions[:, None] - positions)
    assert first_early_bird(distances, 0.1, 3) == 4
    assert first_early_bird(distances, 0.1, 5) == 6
    assert first_early_bird(distances, 0.01, 2) == 5
    assert first_early_bird(distances, 0.01, 4) is None
    assert first_early_bird(distances[:2, :2], 9, 5) is None


def test_rows_and_the_command(run, tmp_path, capsys):
    rows = list(distance_rows(draw_along(run, 0.5), 0.5))
    previous = [row["value"] for row in rows if row["statistic"] == "previous"]
    assert len(previous) == 6 and previous[0] > 2 * previous[2] > 2 * previous[-1]
    chance = {row["value"] for row in rows if row["statistic"] == "expected"}
    assert len(chance) == 1 and chance.pop() == pytest.approx(0.5, abs=1e-3)
    command = ["early-bird", str(run), "--sparsity", "0.5", "--masks", "3", "--epsilon", "0.1"]
    assert main([*command, "--json", "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"] == rows
    distances = all_distances([one.mask for one in draw_along(run, 0.5)])
    number = next(n for n in range(2, 7) if distances[n, n - 2 : n].max() <= 0.1)
    assert printed["inputs"]["early_bird"] == 10 * number
    assert (tmp_path / "out/early-bird.csv").read_text().count("\n") == 1 + len(rows)
    assert main(command) == 0
    assert f"the mask of update {10 * number}" in capsys.readouterr().out


def test_what_cannot_be_drawn_is_one_sentence(run, tmp_path):
    with pytest.raises(LotteryError, match="is not a folder"):
        draw_along(tmp_path / "none", 0.5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LotteryError, match="of 0 updates, expected at least 2; train with"):
        draw_along(tmp_path / "empty", 0.5)
    with pytest.raises(LotteryError, match="no mask can be drawn from .*checkpoint_last.pt"):
        draw_along(run, 1.5)
    assert main(["early-bird", str(run), "--sparsity", "0.5", "--masks", "1"]) == 2


def test_a_masked_training_only_prunes_more(tmp_path):
    kept = {n: k.clone() for n, k in full_mask().items()}
    kept["encoder.layers.0.fc1.weight"][0] = False
    own = Mask(kept, full_mask().protected)
    for number in (0, 5):
        pruned = {n: w * own[n] if n in own else w for n, w in weights(number).items()}
        save_snapshot_of(tmp_path / f"snapshot_{number}.safetensors", pruned, number, own)
    drawn = draw_along(tmp_path, 0.5)
    for one in drawn:
        assert one.mask.is_subset_of(own) and one.mask.sparsity == pytest.approx(0.5, abs=1e-2)
    expected = [r["value"] for r in distance_rows(drawn, 0.5) if r["statistic"] == "expected"]
    assert expected == [distance_by_chance(drawn[0].mask, drawn[1].mask, own, own)]
    assert expected[0] < distance_by_chance(drawn[0].mask, drawn[1].mask) - 1e-4
