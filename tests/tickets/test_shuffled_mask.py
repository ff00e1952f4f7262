"""The control of a mask that is shuffled within each matrix."""

import pytest
import torch
from small import EMBEDDING, Run, full_mask

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import load_ticket, save_ticket
from fairseq_lottery.masks import Mask, overlap
from fairseq_lottery.tickets.shuffled_mask import shuffled_mask


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_each_matrix_keeps_its_count_and_the_padding_row(run):
    mask = run.draw(scope="global", sparsity=0.7).mask
    shuffled = shuffled_mask(mask, 1)
    assert shuffled != mask and shuffled.protected == mask.protected
    assert all(shuffled.pruned_in(name) == mask.pruned_in(name) for name in mask)
    assert bool(shuffled[EMBEDDING][1].all())
    assert shuffled != shuffled_mask(mask, 2)
    assert shuffled == shuffled_mask(mask, 1)


def test_positions_are_uniform():
    """Each of twenty entries is kept in 20 % of two thousand shuffles."""
    keep = torch.zeros(2, 10, dtype=torch.bool)
    keep[0, :4] = True
    counts = torch.zeros(2, 10)
    for seed in range(2000):
        counts += shuffled_mask(Mask({"w": keep}), seed)["w"]
    # 19 degrees of freedom, 99.9 % point; four of twenty are drawn without replacement
    assert ((counts - 400) ** 2 / (400 * 0.8)).sum() * 19 / 20 < 43.8


def test_its_stream_is_its_own(run):
    """A shuffle of half of the weights is independent of the random mask with the same seed."""
    mask = shuffled_mask(run.draw(sparsity=0.5).mask, 1)
    other = run.draw(score="random", sparsity=0.5, seed=1).mask
    jaccard, chance = overlap(mask, other)[""]
    assert abs(jaccard - chance) < 0.06


def test_a_draw_shuffles_the_mask_of_its_scores_or_of_a_file(run, tmp_path):
    plain = run.draw(scope="global", sparsity=0.7)
    ticket = run.draw(scope="global", sparsity=0.7, shuffle_mask=True, seed=3)
    assert ticket.mask == shuffled_mask(plain.mask, 3)
    assert "|scope:global|mask:shuffled|" in ticket.record["signature"]
    assert ticket.record["shuffle_mask"] is True and "shuffle_mask" not in plain.record
    for name, keep in ticket.mask.items():
        assert torch.equal(ticket.values[name], run.early[name] * keep)
    path = tmp_path / "plain.safetensors"
    save_ticket(path, plain)
    again = run.draw(sparsity=None, mask_file=str(path), shuffle_mask=True, seed=3)
    assert again.mask == ticket.mask
    shuffled = tmp_path / "shuffled.safetensors"
    save_ticket(shuffled, again)
    inherited = run.draw(sparsity=None, mask_file=str(shuffled))
    assert inherited.mask == again.mask and "mask:shuffled" in inherited.record["signature"]


def test_the_command(run, capsys):
    out = run.folder / "out.safetensors"
    fixed = ["--mask-from", run.last, "--start-from", run.snapshot_5, "--out", str(out)]
    assert main(["ticket", *fixed, "--sparsity", "0.5", "--shuffle-mask", "--reset", "sign"]) == 0
    assert "|scope:layer|mask:shuffled|sparsity:0.5000|" in capsys.readouterr().out
    assert load_ticket(out).mask == shuffled_mask(run.draw().mask, 1)


def test_structures_are_refused(run):
    with pytest.raises(LotteryError, match="--shuffle-mask does not keep the pattern 1:2"):
        run.draw(scope="1:2", sparsity=None, shuffle_mask=True)
    queries = {n: k.clone() for n, k in full_mask().items()}
    queries["encoder.layers.0.self_attn.q_proj.weight"][:2] = False
    mask = Mask(queries, full_mask().protected)
    assert shuffled_mask(mask, 1).pruned == mask.pruned
