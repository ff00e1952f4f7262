"""Generators of fairseq whose beam search runs in compiled code."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Optional

from fairseq.search import BeamSearch
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment
from torch import Tensor

from fairseq_lottery.decoding.beams import Beams
from fairseq_lottery.decoding.compiled_decoder import CompiledDecoder, NotCompilable

logger = logging.getLogger(__name__)


class CompiledGenerator(SequenceGenerator):
    """fairseq's generator, whose beam search runs in compiled code.

    Make one of a generator of fairseq by ``compile_generator``.

    Attributes:
        decoders: compiled decoder of each model.
    """

    decoders: Sequence[CompiledDecoder]

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
                raise NotCompilable("the batch has constraints, or no tokens")
            for decoder in self.decoders:
                decoder.refuse_changes()
        except NotCompilable as reason:
            log_reason(reason)
            return super()._generate(sample, prefix_tokens, constraints, bos_token)
        encoder_outs = self.model.forward_encoder(sample["net_input"])
        sessions = [
            decoder.start(encoder_out) for decoder, encoder_out in zip(self.decoders, encoder_outs)
        ]
        first = self.eos if bos_token is None else bos_token
        beams = Beams(self, self.decoders, sample["net_input"], sessions, prefix_tokens, first)
        return beams.search()


class CompiledGeneratorWithAlignment(SequenceGeneratorWithAlignment, CompiledGenerator):
    """fairseq's generator for ``--print-alignment``, whose beam search runs in compiled code."""


_COMPILED = {
    SequenceGenerator: CompiledGenerator,
    SequenceGeneratorWithAlignment: CompiledGeneratorWithAlignment,
}


def compile_generator(generator: Any) -> None:
    """Let a generator of fairseq search in compiled code, in place.

    Args:
        generator: generator whose models were packed (``fairseq_lottery.sparse.pack``).

    Raises:
        NotCompilable: the models or the search compute something that compiled code does not.
    """
    kind = _COMPILED.get(type(generator))
    if kind is None:
        raise NotCompilable(f"the generator is a {type(generator).__name__}")
    _refuse_other_search(generator)
    models = generator.model.models
    generator.decoders = [CompiledDecoder(getattr(model, "decoder", None)) for model in models]
    generator.__class__ = kind
    if generator.repeat_ngram_blocker is not None:
        logger.info("n-grams are blocked, which fairseq's own code for a CPU does not do")


def log_reason(reason: NotCompilable) -> None:
    """Say why fairseq's own search is used."""
    logger.info("fairseq's own search is used, because %s", reason)


def _refuse_other_search(generator: Any) -> None:
    if type(generator.search) is not BeamSearch:
        raise NotCompilable(f"the search is a {type(generator.search).__name__}")
    if generator.lm_model is not None:
        raise NotCompilable("a language model takes part")
    blocker = generator.repeat_ngram_blocker
    if blocker is not None and blocker.no_repeat_ngram_size == 1:
        raise NotCompilable("it does not block repeated tokens")
    if 2 * generator.beam_size >= generator.vocab_size:
        raise NotCompilable(f"the beam is wide for {generator.vocab_size} types")
