"""The sparsity that a mask grows on from."""

from dataclasses import replace

import pytest
from small import PRUNABLE, SHAPES, Run, save_checkpoint

pytest.importorskip("fairseq")

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.structured import Anatomy, Parts, save_parts
from fairseq_lottery.tasks.growth import _sparsity_now
from fairseq_lottery.tickets.draw import draw

HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_what_was_asked_of_open_parts_is_no_sparsity_of_the_mask(tmp_path, scope):
    """Half of the heads are closed, and half of what is left is pruned."""
    run, anatomy = Run(tmp_path), Anatomy.of(SHAPES, HEADS)
    cfg = {"model": {"arch": "transformer", **HEADS}, "task": {}}
    save_checkpoint(run.last, run.trained, cfg=cfg)
    parts = Parts(anatomy, {"heads": {name: [0] for name in anatomy.heads}})
    save_parts(tmp_path / "half.json", parts, {})
    plan = replace(run.plan, scope=scope, sparsity=0.5, parts=str(tmp_path / "half.json"))
    ticket = draw(plan)
    assert ticket.mask.pruned == 192 + (PRUNABLE - 192) // 2
    assert _sparsity_now("global", ticket.mask, ticket) == 406 / PRUNABLE
    with pytest.raises(LotteryError, match="unevenly, up to .* let it grow with --scope global"):
        _sparsity_now("layer", ticket.mask, ticket)
    plain = draw(replace(plan, parts=None))
    assert _sparsity_now(scope, plain.mask, plain) == 0.5
