"""A Transformer decoder of fairseq in few kernels, for a GPU, which waits for their start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Optional

import torch
import torch.nn.functional as F
from fairseq.models.transformer import TransformerDecoder, TransformerDecoderBase
from fairseq.modules import MultiheadAttention, TransformerDecoderLayer
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor, nn

from fairseq_lottery.compat import fused_attention
from fairseq_lottery.decoding.best_tokens import best_tokens
from fairseq_lottery.decoding.decoder import Decoder, NotAccelerated, Session, require_type

#: positions by which the memory of keys and values grows
_POSITIONS = 16


class FusedDecoder(Decoder):
    """A decoder whose layers call few kernels of torch, on any device and in any precision.

    In each layer, queries, keys and values of self-attention are one product, and keys and values
    of earlier tokens are moved together. Hypotheses of a sentence share the keys and values of its
    source.
    """

    def __init__(self, decoder: Any) -> None:
        super().__init__(decoder)
        self.refuse_changes()

    @property
    def output(self) -> Any:  # noqa: D102 - of Decoder
        return self._decoder.output_projection

    def refuse_changes(self) -> None:  # noqa: D102 - of Decoder
        require_type(self._decoder, (TransformerDecoder, TransformerDecoderBase))
        require_type(self.output, (nn.Linear,))
        if not len(self._decoder.layers):
            raise NotAccelerated("the decoder has no layers")
        for layer in self._decoder.layers:
            _refuse_layer(layer)
        super().refuse_changes()

    def start(self, encoder_out: Any) -> Session:  # noqa: D102 - of Decoder
        padding = encoder_out["encoder_padding_mask"]
        source = encoder_out["encoder_out"][0]
        return _FusedSession(self._decoder, source, padding[0] if len(padding) else None)

    best_tokens = staticmethod(best_tokens)


class _FusedSession(Session):
    """The state of a batch.

    Args:
        source: output of the encoder, (source, sentences, width).
        padding: True at padding of the source, (sentences, source); None for no padding.
    """

    def __init__(self, decoder: Any, source: Tensor, padding: Optional[Tensor]) -> None:
        super().__init__(decoder)
        self._layers = [_Layer(layer, source) for layer in decoder.layers]
        self._length, self._rows, self._beam = 0, 0, 0
        self._places, self._all = source.shape[:2]
        #: -inf at padding, (sentences, 1, 1, a multiple of 8), as kernels of a GPU require
        self._padding: Optional[Tensor] = None
        if padding is not None and _has_padding(padding):
            columns = -(-self._places // 8) * 8
            self._padding = source.new_zeros(self._all, 1, 1, columns)
            seen = self._padding[:, 0, 0, : self._places]
            seen.masked_fill_(padding.to(torch.bool), -torch.inf)
        self._seen_padding = self._padding

    def _run_layers(self, x: Tensor, parents: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        if not self._length:
            self._rows, self._beam = len(x), len(x) // self._all
        has_fewer = len(x) < self._rows
        self._rows = len(x)
        chosen = sentences[:: self._beam]
        if has_fewer and self._padding is not None:
            self._seen_padding = self._padding.index_select(0, chosen)
        padding = self._seen_padding
        padding = padding if padding is None else padding[..., : self._places]
        attention = None
        for layer in self._layers:
            if has_fewer:
                layer.select(chosen)
            layer.follow(parents, self._length)
            needs_attention = layer is self._layers[-1]
            x, attention = layer.step(x, self._length, self._beam, padding, needs_attention)
        self._length += 1
        assert attention is not None
        return x, attention


class _Layer:
    """A layer, with the keys and values of source and earlier tokens.

    Args:
        layer: layer of fairseq.
        source: output of the encoder, (source, sentences, width).
    """

    def __init__(self, layer: Any, source: Tensor) -> None:
        own, cross = layer.self_attn, layer.encoder_attn
        self._heads = own.num_heads, cross.num_heads
        self._project = _joined([own.q_proj, own.k_proj, own.v_proj])
        self._own_out, self._cross_out = _plain(own.out_proj), _plain(cross.out_proj)
        self._query, self._fc1, self._fc2 = map(_plain, (cross.q_proj, layer.fc1, layer.fc2))
        norms = layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm
        self._norms = [_plain(norm) for norm in norms]
        self._is_pre_norm, self._activation = layer.normalize_before, layer.activation_fn
        projected = torch.stack([cross.k_proj(source), cross.v_proj(source)])
        divided = projected.view(*projected.shape[:3], cross.num_heads, -1)
        #: keys and values of the source, (2, sentences, heads, source, depth)
        self._source = divided.permute(0, 2, 3, 1, 4).contiguous()
        self._seen = self._source
        #: keys and values of earlier tokens, (2, hypotheses, heads, positions, depth)
        self._past: Optional[Tensor] = None

    def select(self, sentences: Tensor) -> None:
        """Continue with some of the sentences."""
        self._seen = self._source.index_select(1, sentences)

    def follow(self, parents: Tensor, length: int) -> None:
        """Let each hypothesis continue one of the last step, of ``length`` tokens so far."""
        past = self._past
        if past is None:
            return
        past = past.index_select(1, parents)
        if length == past.shape[3]:
            past = torch.cat([past, past.new_empty(past[:, :, :, :_POSITIONS].shape)], dim=3)
        self._past = past

    def step(
        self, x: Tensor, length: int, beam: int, padding: Optional[Tensor], needs_attention: bool
    ) -> tuple[Tensor, Optional[Tensor]]:
        """Return the output of the layer, and the attention to the source.

        Args:
            x: (hypotheses, width).
            length: number of earlier tokens.
            beam: hypotheses of a sentence.
            padding: -inf at padding, (sentences, 1, 1, source).
            needs_attention: whether attention is returned, the mean of heads in fp32:
                (hypotheses, source).
        """
        first_norm, second_norm, last_norm = self._norms
        if self._is_pre_norm:
            x = x + self._attend_to_past(first_norm(x), length)
            mixed, attention = self._attend_to_source(
                second_norm(x), beam, padding, needs_attention
            )
            x = x + mixed
            return x + self._fc2(self._activation(self._fc1(last_norm(x)))), attention
        x = first_norm(x + self._attend_to_past(x, length))
        mixed, attention = self._attend_to_source(x, beam, padding, needs_attention)
        x = second_norm(x + mixed)
        return last_norm(x + self._fc2(self._activation(self._fc1(x)))), attention

    def _attend_to_past(self, x: Tensor, length: int) -> Tensor:
        rows, heads = len(x), self._heads[0]
        new = self._project(x).view(rows, 3, heads, -1)
        past = self._past
        if past is None:
            past = self._past = x.new_empty(2, rows, heads, _POSITIONS, new.shape[-1])
        past[:, :, :, length] = new[:, 1:].transpose(0, 1)
        keys, values = past[:, :, :, : length + 1].unbind()
        return self._own_out(attend(new[:, 0, :, None], keys, values, None).reshape(rows, -1))

    def _attend_to_source(
        self, x: Tensor, beam: int, padding: Optional[Tensor], needs_attention: bool
    ) -> tuple[Tensor, Optional[Tensor]]:
        rows, heads = len(x), self._heads[1]
        queries = self._query(x).view(rows // beam, beam, heads, -1).transpose(1, 2)
        keys, values = self._seen.unbind()
        mean = None
        if needs_attention:
            weights = _attention_weights(queries, keys, padding)
            mean = weights.mean(dim=1).view(rows, -1)
            mixed = weights.to(values.dtype) @ values
        else:
            mixed = attend(queries, keys, values, padding)
        return self._cross_out(mixed.transpose(1, 2).reshape(rows, -1)), mean


def _attention_weights(queries: Tensor, keys: Tensor, mask: Optional[Tensor]) -> Tensor:
    """Return the attention of queries to keys in fp32; ``mask`` is added to their products."""
    products = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    products = products if mask is None else products + mask
    return torch.softmax(products, dim=-1, dtype=torch.float32)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Optional[Tensor]) -> Tensor:
    return _attention_weights(queries, keys, mask).to(values.dtype) @ values


#: mean of values, weighted by attention
attend = fused_attention() or _attend


def _has_padding(padding: Tensor) -> bool:
    """Return whether a mask of padding is True anywhere."""
    return bool(padding.any())


def _plain(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that computes a module without hooks; calls of modules take longer."""
    if type(module) is nn.Linear:
        return partial(F.linear, weight=module.weight, bias=module.bias)
    if type(module) is nn.LayerNorm:
        shape, weight, bias = list(module.normalized_shape), module.weight, module.bias
        return partial(
            F.layer_norm, normalized_shape=shape, weight=weight, bias=bias, eps=module.eps
        )
    return module


def _joined(linears: Sequence[nn.Linear]) -> Callable[[Tensor], Tensor]:
    """Return a function that computes all layers at once, one after the other in its output."""
    weights = [linear.weight for linear in linears]
    biases = [linear.bias for linear in linears]
    if all(type(weight) is nn.Parameter for weight in weights):
        weight = torch.cat([parameter.detach() for parameter in weights])
        bias = None if biases[0] is None else torch.cat([b.detach() for b in biases])
        return lambda x: F.linear(x, weight, bias)
    return lambda x: torch.cat([linear(x) for linear in linears], dim=1)  # weights of other kinds


def _refuse_layer(layer: Any) -> None:
    require_type(layer, (TransformerDecoderLayer, TransformerDecoderLayerBase))
    if layer.encoder_attn is None:
        raise NotAccelerated("the decoder does not attend to an encoder")
    for attention in (layer.self_attn, layer.encoder_attn):
        require_type(attention, (MultiheadAttention,))
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        for linear in (getattr(attention, name) for name in names):
            require_type(linear, (nn.Linear,))
        depth = attention.q_proj.out_features // max(attention.num_heads, 1)
        if not attention.num_heads or attention.scaling != depth**-0.5:
            raise NotAccelerated("an attention has no heads, or its own scale")
    for linear in (layer.fc1, layer.fc2):
        require_type(linear, (nn.Linear,))
    own = layer.self_attn
    if len({p.bias is None for p in (own.q_proj, own.k_proj, own.v_proj)}) > 1:
        raise NotAccelerated("only some of a layer's projections have a bias")
