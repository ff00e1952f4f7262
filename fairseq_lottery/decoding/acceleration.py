"""Let a generator of fairseq translate faster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import nn

from fairseq_lottery.decoding.accelerated_generator import accelerate_generator, log_reason
from fairseq_lottery.decoding.compiled_decoder import CompiledDecoder
from fairseq_lottery.decoding.decoder import Decoder, NotAccelerated
from fairseq_lottery.decoding.fused_decoder import FusedDecoder
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.sparse import pack, sparsify
from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.sparse_decoding import refuse_other_precision
from fairseq_lottery.sparse.sparse_matrix import Matrix

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
        LotteryError: models on a CPU have other weights than fp32, or only some of the weights are
            on a CPU, or the models were accelerated for a CPU before they were moved to a GPU.
    """
    kind = _decoder_for(models)
    if kind is CompiledDecoder:
        for model in models:
            refuse_other_precision(model)
        for model in models:
            logger.info("%s", sparsify(model, rows=getattr(generator, "beam_size", 1)))
            if native() is not None:
                pack(model)
    try:
        accelerate_generator(generator, kind)
    except NotAccelerated as reason:
        log_reason(reason)


def _decoder_for(models: Sequence[nn.Module]) -> type[Decoder]:
    """Return the class of decoders for the device of the models."""
    devices = {parameter.device.type for model in models for parameter in model.parameters()}
    if "cpu" in devices:
        return CompiledDecoder
    if any(isinstance(module, Matrix) for model in models for module in model.modules()):
        raise LotteryError(
            "the model's matrices were made for a CPU by an earlier translation; load the model"
            " again to translate on a GPU"
        )
    return FusedDecoder
