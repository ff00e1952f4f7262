"""A Transformer decoder of fairseq whose steps run in compiled code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.models.transformer import TransformerDecoder, TransformerDecoderBase
from fairseq.modules import MultiheadAttention, TransformerDecoderLayer, gelu, gelu_accurate
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor, nn

from fairseq_lottery.decoding.decoder import (
    Decoder,
    NotAccelerated,
    Session,
    TokenRules,
    require_type,
)
from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.sparse_matrix import NativeMatrix, PackedLinear

#: activation of fairseq -> its name in native/library.cpp
_ACTIVATIONS = {F.relu: "relu", gelu: "gelu", gelu_accurate: "gelu_tanh", torch.tanh: "tanh"}


class CompiledDecoder(Decoder):
    """A decoder whose layers run in compiled code, and whose logits are never written.

    Args:
        decoder: decoder whose linear layers were packed (``fairseq_lottery.sparse.pack``).
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__(decoder)
        if native() is None:
            raise NotAccelerated("the compiled kernels cannot be built")
        require_type(decoder, (TransformerDecoder, TransformerDecoderBase))
        self.output = _linear(decoder.output_projection)
        layers = list(decoder.layers)
        if not layers:
            raise NotAccelerated("the decoder has no layers")
        self._layers = _compiled(layers)
        self.refuse_changes()

    def start(self, encoder_out: Any) -> Session:  # noqa: D102 - of Decoder
        padding = encoder_out["encoder_padding_mask"]
        state = self._layers.start(
            encoder_out["encoder_out"][0], padding[0] if len(padding) else None
        )
        return _CompiledSession(self._decoder, state)

    @staticmethod
    def best_tokens(  # noqa: D102 - of Decoder
        features: Sequence[Tensor], outputs: Sequence[Any], rules: TokenRules
    ) -> tuple[Tensor, Tensor]:
        forced = torch.full((len(features[0]),), -1) if rules.forced is None else rules.forced
        best: tuple[Tensor, Tensor] = native().best_tokens(  # type: ignore[union-attr]
            features,
            outputs,
            rules.temperature,
            rules.bonus,
            forced,
            *rules.banned,
            rules.count,
            rules.filler,
        )
        return best


class _CompiledSession(Session):
    def __init__(self, decoder: Any, state: Any) -> None:
        super().__init__(decoder)
        self._state = state

    def _run_layers(self, x: Tensor, parents: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = self._state.step(x, parents, sentences)
        return result


def _compiled(layers: list[Any]) -> Any:
    """Return the layers as an object of ``native/library.cpp``."""
    for layer in layers:
        require_type(layer, (TransformerDecoderLayer, TransformerDecoderLayerBase))
        if layer.encoder_attn is None:
            raise NotAccelerated("the decoder does not attend to an encoder")
    settings = {(layer.normalize_before, _activation(layer)) for layer in layers}
    if len(settings) > 1:
        raise NotAccelerated("the layers of the decoder differ")
    ((normalize_before, activation),) = settings
    compiled = torch.classes.fairseq_lottery.Decoder(bool(normalize_before), activation)
    for layer in layers:
        attentions = (layer.self_attn, layer.encoder_attn)
        norms = (layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm)
        compiled.add_layer(
            [_linear(linear) for linear in _linears(layer)],
            [tensor for norm in norms for tensor in _norm(norm)],
            [norm.eps for norm in norms],
            *(attention.num_heads for attention in attentions),
        )
    return compiled


def _linears(layer: Any) -> Iterator[nn.Module]:
    for attention in (layer.self_attn, layer.encoder_attn):
        require_type(attention, (MultiheadAttention,))
        yield from (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    yield from (layer.fc1, layer.fc2)


def _activation(layer: Any) -> str:
    if layer.activation_fn not in _ACTIVATIONS:
        raise NotAccelerated("the activation of the decoder is unknown")
    return _ACTIVATIONS[layer.activation_fn]


def _linear(layer: Any) -> Any:
    """Return a linear layer as an object of ``native/library.cpp``."""
    require_type(layer, (PackedLinear,))
    if not isinstance(layer.matrix, NativeMatrix):
        raise NotAccelerated("a matrix has more than 65,536 inputs")
    return torch.classes.fairseq_lottery.Linear(*layer.matrix.parts(), layer.bias)


def _norm(norm: Any) -> tuple[Tensor, Tensor]:
    require_type(norm, (nn.LayerNorm,))
    if norm.weight is None or norm.bias is None:
        raise NotAccelerated("a layer norm has no weights")
    return norm.weight, norm.bias
