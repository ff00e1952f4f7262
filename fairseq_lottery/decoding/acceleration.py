"""Let a generator of fairseq translate faster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import nn

from fairseq_lottery.decoding.accelerated_generator import accelerate_generator, log_reason
from fairseq_lottery.decoding.compiled_decoder import CompiledDecoder
from fairseq_lottery.decoding.decoder import NotAccelerated
from fairseq_lottery.decoding.fused_decoder import FusedDecoder
from fairseq_lottery.sparse import pack, sparsify
from fairseq_lottery.sparse.kernel import native

logger = logging.getLogger(__name__)


def accelerate(generator: Any, models: Sequence[nn.Module]) -> None:
    """Let a generator of fairseq translate faster, in place.

    On a CPU matrices are stored sparse if that multiplies faster, and beam search of Transformers
    runs in compiled code. On a GPU matrices stay as they are, and beam search starts fewer kernels.
    The hypotheses are the same, with scores that differ by rounding only. Other searches and models
    keep fairseq's own code, and the log has a line with the reason.

    Args:
        generator: result of a task's ``build_generator``.
        models: models that the generator is called with; they cannot be trained any more.

    Raises:
        LotteryError: the model is on a CPU, and its weights are not fp32.
    """
    devices = {parameter.device.type for model in models for parameter in model.parameters()}
    is_on_gpu = devices == {"cuda"}
    for model in () if is_on_gpu else models:
        logger.info("%s", sparsify(model, rows=getattr(generator, "beam_size", 1)))
        if native() is not None:
            pack(model)
    try:
        accelerate_generator(generator, FusedDecoder if is_on_gpu else CompiledDecoder)
    except NotAccelerated as reason:
        log_reason(reason)
