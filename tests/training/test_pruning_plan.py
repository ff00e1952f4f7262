"""The sparsity that a pruning schedule continues from."""

from dataclasses import replace

import pytest
from small import PRUNABLE, SHAPES, Run, save_checkpoint
from toy import assert_pruned, drawing

pytest.importorskip("fairseq")

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_source
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import weight_masks
from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of
from fairseq_lottery.tickets.draw import draw
from fairseq_lottery.training.start.pruning_plan import initial_sparsity

HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_what_was_asked_of_open_parts_is_no_sparsity_of_the_mask(tmp_path, scope):
    """Half of the heads are closed, and half of what is left is pruned."""
    run, anatomy = Run(tmp_path), Anatomy.of(SHAPES, HEADS)
    cfg = {"model": {"arch": "transformer", **HEADS}, "task": {}}
    save_checkpoint(run.last, run.trained, cfg=cfg)
    parts = ComponentMask(anatomy, {"heads": {name: [0] for name in anatomy.heads}})
    save_choice(tmp_path / "half.json", parts, {})
    plan = replace(run.plan, scope=scope, sparsity=0.5, components=str(tmp_path / "half.json"))
    ticket = draw(plan)
    assert ticket.mask.pruned == 192 + (PRUNABLE - 192) // 2
    assert initial_sparsity("global", ticket.mask, ticket) == 406 / PRUNABLE
    with pytest.raises(LotteryError, match="set --scope global"):
        initial_sparsity("layer", ticket.mask, ticket)
    plain = draw(replace(plan, components=None))
    assert initial_sparsity(scope, plain.mask, plain) == 0.5


GRADIENTS = ("--score", "matrix.scores:taylor", "--prune-to", 0.5, "--prune-end", 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--prune-schedule", "one-shot", "--prune-start", 0),
        ("--prune-schedule", "cubic", "--prune-start", 0, "--prune-every", 2),
    ],
)
def test_no_score_of_gradients_before_there_are_gradients(toy, flags):
    done = toy.train("run", *GRADIENTS, *flags, updates=10)
    assert done.code == 2 and "Traceback" not in done.out
    assert (
        "--score matrix.scores:taylor needs gradients, but there are none at update 0, where"
        " pruning starts; set --prune-start to 1 or later" in done.out
    )
    assert not list(toy.path("run").iterdir())  # the folder itself is fairseq's
    later = [1 if flag == 0 else flag for flag in flags]
    assert "pruned at update 1" in toy.train("run", *GRADIENTS, *later, updates=10).ok().out


@pytest.mark.slow
def test_nor_when_a_dense_run_is_pruned_on(toy):
    toy.train("run", updates=4).ok()
    flags = (*GRADIENTS, "--prune-schedule", "one-shot")
    done = toy.train("run", *flags, "--prune-start", 4, updates=10)
    assert done.code == 2 and "there are none at update 4" in done.out
    assert "pruned at update 5" in toy.train("run", *flags, "--prune-start", 5, updates=10).ok().out


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_share_of_what_is_left_open_is_pruned_when_a_training_starts(toy, dense, scope):
    """Half of the heads closed, 60 % of the other weights pruned, by fairseq-train's own flags."""
    source = read_source(dense / "checkpoint_last.pt")
    anatomy = anatomy_of(source)
    parts = ComponentMask(anatomy, {"heads": {name: [0] for name in anatomy.heads}})
    save_choice(toy.path("half.json"), parts, {})
    flags = drawing(dense, 0.6, "--scope", scope, "--components", toy.path("half.json"))
    toy.train("run", *flags, updates=8).ok()
    toy.train("run", *flags, updates=12).ok()
    mask = toy.mask("run", "checkpoint_last.pt")
    assert_pruned(toy.load("run", "checkpoint_last.pt"), mask)
    closed = weight_masks(parts, source.shapes)
    opened, kept = {}, {}
    for name, keep in mask.items():
        shut = int((~closed[name]).sum()) if name in closed else 0
        opened[name] = mask.size(name) - shut
        kept[name] = mask.size(name) - mask.pruned_in(name)
        assert name not in closed or not keep[~closed[name]].any()
        if scope == "layer":
            assert abs(kept[name] - 0.4 * opened[name]) <= 0.5, name
    assert abs(sum(kept.values()) - 0.4 * sum(opened.values())) <= 0.5 * len(mask)
    if scope == "global":
        assert abs(sum(kept.values()) - 0.4 * sum(opened.values())) <= 0.5
