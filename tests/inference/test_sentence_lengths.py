"""Sentences that a model is too short for."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("fairseq")

from fairseq.modules import PositionalEmbedding

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.inference.sentence_lengths import has_learned_positions, refuse_too_long

PAIRS = SimpleNamespace(sizes=np.array([[3, 4], [9, 4], [2, 12]]))


def test_the_limits_of_task_and_model_are_both_named():
    refuse_too_long(PAIRS, [], (8, 8), False)
    with pytest.raises(LotteryError) as refused:
        refuse_too_long(PAIRS, [2, 1], (8, 8), False)
    assert str(refused.value) == (
        "sentence 1 (counted from 0) is too long: the longest one has 12 tokens, and source and"
        " target may have (8, 8) in this task, which never skips a sentence; raise the limits of"
        " task and model: --max-source-positions 12 --max-target-positions 12"
        " --model-overrides \"{'max_source_positions': 12, 'max_target_positions': 12}\""
    )


def test_learned_positions_cannot_be_more():
    with pytest.raises(LotteryError, match="sentence 1 .* 12 tokens, .*learned"):
        refuse_too_long(PAIRS, [1], (8, 8), True)
    for learned in (True, False):
        assert has_learned_positions(PositionalEmbedding(8, 4, 1, learned)) is learned
