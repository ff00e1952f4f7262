"""A Transformer decoder of fairseq whose steps run in compiled code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.models.transformer import TransformerDecoder, TransformerDecoderBase
from fairseq.modules import MultiheadAttention, TransformerDecoderLayer, gelu, gelu_accurate
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor, nn

from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.sparse_matrix import NativeMatrix, PackedLinear

#: activation of fairseq -> its name in native/library.cpp
_ACTIVATIONS = {F.relu: "relu", gelu: "gelu", gelu_accurate: "gelu_tanh", torch.tanh: "tanh"}
#: settings of a decoder or layer that change its computation; compiled code has none of them
_UNSUPPORTED = {
    *("adaptive_softmax", "quant_noise", "cross_self_attention"),
    *("attn_ln", "c_attn", "ffn_layernorm", "w_resid"),
    *("bias_k", "bias_v", "add_zero_attn", "use_xformers"),
}


class NotCompilable(Exception):
    """The reason why a model or a search cannot run in compiled code."""


class CompiledDecoder:
    """The decoder of a Transformer, for beam search.

    It holds the weights of the model, not copies.

    Args:
        decoder: decoder whose linear layers were packed (``fairseq_lottery.sparse.pack``).

    Raises:
        NotCompilable: the decoder computes something that compiled code does not.
    """

    def __init__(self, decoder: Any) -> None:
        if native() is None:
            raise NotCompilable("the compiled kernels cannot be built")
        _require_type(decoder, (TransformerDecoder, TransformerDecoderBase))
        self._decoder = decoder
        self.output = _linear(decoder.output_projection)
        layers = list(decoder.layers)
        if not layers:
            raise NotCompilable("the decoder has no layers")
        self._layers = _compiled(layers)
        self.refuse_changes()

    def __reduce__(self) -> tuple[Any, ...]:
        """Compile the decoder again in copies and other processes."""
        return type(self), (self._decoder,)

    def refuse_changes(self) -> None:
        """Raise NotCompilable if a module has got a hook or a setting that is not compiled."""
        for name, module in self._decoder.named_modules():
            _refuse_settings(module)
            if module._forward_hooks or module._forward_pre_hooks:
                raise NotCompilable(f"the decoder's {name or 'module'} has a hook")
            if vars(module).get("apply_during_inference"):
                raise NotCompilable("dropout is retained")

    def start(self, encoder_out: Any) -> Session:
        """Start the search of a batch; ``encoder_out`` is the result of the model's encoder."""
        padding = encoder_out["encoder_padding_mask"]
        state = self._layers.start(
            encoder_out["encoder_out"][0], padding[0] if len(padding) else None
        )
        return Session(self._decoder, state)


class Session:
    """The decoder's state for a batch of sentences."""

    def __init__(self, decoder: Any, state: Any) -> None:
        self._decoder, self._state = decoder, state

    def step(self, tokens: Tensor, parents: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        """Decode one more token of each hypothesis.

        Args:
            tokens: int64, (hypotheses, length): all tokens so far.
            parents: int64, (hypotheses): row of the previous step that each one continues.
            sentences: int64, (hypotheses): row of its sentence in the encoder's batch.

        Returns:
            Features, (hypotheses, width), from which the output layer computes logits, and the
            attention to the source in the last layer, the mean of its heads: (hypotheses, source).
        """
        features, attention = self._state.step(self._embed(tokens), parents, sentences)
        if self._decoder.layer_norm is not None:
            features = self._decoder.layer_norm(features)
        if self._decoder.project_out_dim is not None:
            features = self._decoder.project_out_dim(features)
        return features.contiguous(), attention

    def _embed(self, tokens: Tensor) -> Tensor:
        decoder = self._decoder
        x = decoder.embed_scale * decoder.embed_tokens(tokens[:, -1])
        if decoder.project_in_dim is not None:
            x = decoder.project_in_dim(x)
        if decoder.embed_positions is not None:
            # an empty state means that only the last position is asked for
            x = x + decoder.embed_positions(tokens, incremental_state={})[:, -1]
        if decoder.layernorm_embedding is not None:
            x = decoder.layernorm_embedding(x)
        return x.contiguous()


def _compiled(layers: list[Any]) -> Any:
    """Return the layers as an object of ``native/library.cpp``."""
    for layer in layers:
        _require_type(layer, (TransformerDecoderLayer, TransformerDecoderLayerBase))
        if layer.encoder_attn is None:
            raise NotCompilable("the decoder does not attend to an encoder")
    settings = {(layer.normalize_before, _activation(layer)) for layer in layers}
    if len(settings) > 1:
        raise NotCompilable("the layers of the decoder differ")
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
        _require_type(attention, (MultiheadAttention,))
        yield from (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
    yield from (layer.fc1, layer.fc2)


def _activation(layer: Any) -> str:
    if layer.activation_fn not in _ACTIVATIONS:
        raise NotCompilable("the activation of the decoder is unknown")
    return _ACTIVATIONS[layer.activation_fn]


def _linear(layer: Any) -> Any:
    """Return a linear layer as an object of ``native/library.cpp``."""
    _require_type(layer, (PackedLinear,))
    if not isinstance(layer.matrix, NativeMatrix):
        raise NotCompilable("a matrix has more than 65,536 inputs")
    return torch.classes.fairseq_lottery.Linear(*layer.matrix.parts(), layer.bias)


def _norm(norm: Any) -> tuple[Tensor, Tensor]:
    _require_type(norm, (nn.LayerNorm,))
    if norm.weight is None or norm.bias is None:
        raise NotCompilable("a layer norm has no weights")
    return norm.weight, norm.bias


def _require_type(module: Any, types: tuple[type, ...]) -> None:
    if type(module) not in types:
        raise NotCompilable(f"the model has a {type(module).__name__}, not a {types[0].__name__}")


def _refuse_settings(module: nn.Module) -> None:
    # getattr would search all three, and raise and catch an exception for each missing name
    for attributes in (vars(module), module._parameters, module._modules):
        for name in sorted(_UNSUPPORTED & attributes.keys()):
            value = attributes[name]
            if isinstance(value, Tensor) or value:
                raise NotCompilable(f"the model has {name}")
