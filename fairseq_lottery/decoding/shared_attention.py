"""Share the attention to the source among the hypotheses of a sentence, in fairseq's own search."""

from __future__ import annotations

from typing import Any

from fairseq.models.transformer import TransformerDecoderBase
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment


class SharingGenerator(SequenceGenerator):
    """fairseq's generator, which computes keys and values of a source once for all hypotheses.

    fairseq asks the model for this, and of its Transformers only BART has the method. The decoders
    of all Transformers can do it. They return to their usual form after each batch, because a
    generator of another beam may use them next.
    """

    def _generate(self, sample: Any, *args: Any, **kwargs: Any) -> Any:
        decoders = [getattr(model, "decoder", None) for model in self.model.models]
        sharing = [one for one in decoders if isinstance(one, TransformerDecoderBase)]
        try:
            for decoder in sharing:
                decoder.set_beam_size(self.beam_size)
            return super()._generate(sample, *args, **kwargs)
        finally:
            for decoder in sharing:
                decoder.set_beam_size(1)


class SharingGeneratorWithAlignment(SequenceGeneratorWithAlignment, SharingGenerator):
    """``SharingGenerator`` for ``--print-alignment``."""


_SHARING = {
    SequenceGenerator: SharingGenerator,
    SequenceGeneratorWithAlignment: SharingGeneratorWithAlignment,
}


def share_attention(generator: Any) -> None:
    """Let a generator of fairseq share attention, in place; other generators stay as they are."""
    generator.__class__ = _SHARING.get(type(generator), type(generator))
