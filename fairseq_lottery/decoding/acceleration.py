"""Let a generator of fairseq translate faster on a CPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import nn

from fairseq_lottery.decoding.compiled_decoder import NotCompilable
from fairseq_lottery.decoding.compiled_generator import compile_generator, log_reason
from fairseq_lottery.sparse import pack, sparsify
from fairseq_lottery.sparse.kernel import native

logger = logging.getLogger(__name__)


def accelerate(generator: Any, models: Sequence[nn.Module]) -> None:
    """Let a generator of fairseq translate faster on a CPU, in place.

    Matrices are stored sparse if that multiplies faster. Beam search of Transformers runs in
    compiled code; it gives the same hypotheses, with scores that differ by rounding only. Other
    searches and models keep fairseq's own code, and the log has a line with the reason.

    Args:
        generator: result of a task's ``build_generator``.
        models: models that the generator is called with; they cannot be trained any more.

    Raises:
        LotteryError: the weights are not fp32, or not on the CPU.
    """
    for model in models:
        logger.info("%s", sparsify(model, rows=getattr(generator, "beam_size", 1)))
        if native() is not None:
            pack(model)
    try:
        compile_generator(generator)
    except NotCompilable as reason:
        log_reason(reason)
