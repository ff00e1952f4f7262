"""Generators of fairseq whose beam search is that of this package."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Optional

from fairseq.search import BeamSearch
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment
from torch import Tensor

from fairseq_lottery.compat import attention_for_any_length
from fairseq_lottery.decoding.beams import Beams
from fairseq_lottery.decoding.decoder import Decoder, NotAccelerated

logger = logging.getLogger(__name__)


class AcceleratedGenerator(SequenceGenerator):
    """fairseq's generator with a faster beam search.

    Make one of a generator of fairseq by ``accelerate_generator``.

    Attributes:
        decoders: decoder of each model, all of one class.
    """

    decoders: Sequence[Decoder]

    def _generate(
        self,
        sample: dict[str, Any],
        prefix_tokens: Optional[Tensor] = None,
        constraints: Optional[Tensor] = None,
        bos_token: Optional[int] = None,
    ) -> list[list[dict[str, Tensor]]]:
        """Return the hypotheses of each sentence, best first, as fairseq's generator does."""
        try:
            _refuse_other_search(self)
            if constraints is not None or "src_tokens" not in sample["net_input"]:
                raise NotAccelerated("the batch has constraints, or no tokens")
            for decoder in self.decoders:
                decoder.refuse_changes()
        except NotAccelerated as reason:
            log_reason(reason)
            return super()._generate(sample, prefix_tokens, constraints, bos_token)
        encoder_outs = self.model.forward_encoder(sample["net_input"])
        sessions = [
            decoder.start(encoder_out) for decoder, encoder_out in zip(self.decoders, encoder_outs)
        ]
        first = self.eos if bos_token is None else bos_token
        beams = Beams(self, self.decoders, sample["net_input"], sessions, prefix_tokens, first)
        with attention_for_any_length(beams.device.type):
            return beams.search()


class AcceleratedGeneratorWithAlignment(SequenceGeneratorWithAlignment, AcceleratedGenerator):
    """fairseq's generator for ``--print-alignment``, with a faster beam search."""


_ACCELERATED = {
    SequenceGenerator: AcceleratedGenerator,
    SequenceGeneratorWithAlignment: AcceleratedGeneratorWithAlignment,
}


def accelerate_generator(generator: Any, kind: type[Decoder]) -> None:
    """Let a generator of fairseq search faster, in place.

    Args:
        generator: generator whose models ``kind`` can decode.
        kind: class of the decoders.

    Raises:
        NotAccelerated: the models or the search compute something that it does not.
    """
    faster = _ACCELERATED.get(type(generator))
    if faster is None:
        raise NotAccelerated(f"the generator is a {type(generator).__name__}")
    _refuse_other_search(generator)
    models = generator.model.models
    generator.decoders = [kind(getattr(model, "decoder", None)) for model in models]
    generator.__class__ = faster
    blocker = generator.repeat_ngram_blocker
    if blocker is not None and not blocker.use_extension:
        logger.info("n-grams are blocked, which fairseq does only by its extension for CUDA")


def log_reason(reason: NotAccelerated) -> None:
    """Say why fairseq's own search is used."""
    logger.info("fairseq's own search is used, because %s", reason)


def _refuse_other_search(generator: Any) -> None:
    if type(generator.search) is not BeamSearch:
        raise NotAccelerated(f"the search is a {type(generator.search).__name__}")
    if generator.lm_model is not None:
        raise NotAccelerated("a language model takes part")
    blocker = generator.repeat_ngram_blocker
    if blocker is not None and blocker.no_repeat_ngram_size == 1:
        raise NotAccelerated("it does not block repeated tokens")
    if 2 * generator.beam_size >= generator.vocab_size:
        raise NotAccelerated(f"the beam is wide for {generator.vocab_size} types")
