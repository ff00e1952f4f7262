"""A Transformer decoder of fairseq for beam search: its steps, up to the output layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor, nn

#: settings of a decoder or layer that change its computation; no decoder here has any of them
_UNSUPPORTED = {
    *("adaptive_softmax", "quant_noise", "cross_self_attention"),
    *("attn_ln", "c_attn", "ffn_layernorm", "w_resid"),
    *("bias_k", "bias_v", "add_zero_attn", "use_xformers"),
}


class NotAccelerated(Exception):
    """The reason why fairseq's own code decodes a model, or searches."""


@dataclass(frozen=True)
class TokenRules:
    """What decides the best tokens of hypotheses besides the outputs of decoders.

    Attributes:
        count: number of tokens of each hypothesis.
        filler: token of the places that no token has, whose score is -inf.
        temperature: divisor of logits.
        bonus: fp32, (types): added to the scores.
        forced: int64, (rows): the only token that a hypothesis may take, or -1; None for no row.
        banned: int64, (bans): row and token of each ban.
    """

    count: int
    filler: int
    temperature: float
    bonus: Tensor
    forced: Optional[Tensor]
    banned: tuple[Tensor, Tensor]


class Decoder(ABC):
    """The decoder of a Transformer, for beam search.

    It holds the weights of the model, not copies.

    Args:
        decoder: decoder of fairseq.

    Attributes:
        output: layer that computes logits.

    Raises:
        NotAccelerated: the decoder computes something that this class does not.
    """

    output: Any

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def __reduce__(self) -> tuple[Any, ...]:
        """Make the decoder again in copies and other processes."""
        return type(self), (self._decoder,)

    def refuse_changes(self) -> None:
        """Raise NotAccelerated if a module has got a hook or a setting that changes results."""
        if self._decoder.training:
            raise NotAccelerated("the model is in training mode")
        for name, module in self._decoder.named_modules():
            _refuse_settings(module)
            if module._forward_hooks or module._forward_pre_hooks:
                raise NotAccelerated(f"the decoder's {name or 'module'} has a hook")
            if vars(module).get("apply_during_inference"):
                raise NotAccelerated("dropout is retained")

    @abstractmethod
    def start(self, encoder_out: Any) -> Session:
        """Start the search of a batch; ``encoder_out`` is the result of the model's encoder."""

    @staticmethod
    @abstractmethod
    def best_tokens(
        features: Sequence[Tensor], outputs: Sequence[Any], rules: TokenRules
    ) -> tuple[Tensor, Tensor]:
        """Return the best tokens of each row.

        A score is the logarithm of the mean of the models' probabilities plus the token's bonus.

        Args:
            features: result of ``Session.step`` of each model, (rows, width).
            outputs: ``output`` of each model's decoder.

        Returns:
            Scores, fp32, and tokens, int64, of shape (rows, count), best first.
        """


class Session(ABC):
    """The decoder's state for a batch of sentences."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def step(self, tokens: Tensor, parents: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        """Decode one more token of each hypothesis.

        Args:
            tokens: int64, (hypotheses, length): all tokens so far.
            parents: int64, (hypotheses): row of the previous step that each one continues.
            sentences: int64, (hypotheses): row of its sentence in the encoder's batch. Hypotheses
                of a sentence are adjacent, and each sentence has as many as in the first step.

        Returns:
            Features, (hypotheses, width), from which the output layer computes logits, and the
            attention to the source in the last layer, the mean of its heads: (hypotheses, source).
        """
        features, attention = self._run_layers(self._embed(tokens), parents, sentences)
        if self._decoder.layer_norm is not None:
            features = self._decoder.layer_norm(features)
        if self._decoder.project_out_dim is not None:
            features = self._decoder.project_out_dim(features)
        return features.contiguous(), attention

    @abstractmethod
    def _run_layers(
        self, x: Tensor, parents: Tensor, sentences: Tensor
    ) -> tuple[Tensor, Tensor]: ...

    def _embed(self, tokens: Tensor) -> Tensor:
        decoder = self._decoder
        x = decoder.embed_scale * decoder.embed_tokens(tokens[:, -1])
        if decoder.project_in_dim is not None:
            x = decoder.project_in_dim(x)
        if decoder.embed_positions is not None:
            x = x + _last_position(decoder.embed_positions, tokens, x)
        if decoder.layernorm_embedding is not None:
            x = decoder.layernorm_embedding(x)
        return x.contiguous()


def _last_position(embedding: Any, tokens: Tensor, x: Tensor) -> Tensor:
    """Return the embedding of the last position of ``tokens``, to be added to ``x``."""
    if type(embedding) is SinusoidalPositionalEmbedding:
        # its forward computes the position by a dozen operations of torch
        table, position = embedding.weights, embedding.padding_idx + tokens.shape[1]
        if (table.dtype, table.device) == (x.dtype, x.device) and position < len(table):
            row: Tensor = table[position]
            return row
    # an empty state means that only the last position is asked for
    last: Tensor = embedding(tokens, incremental_state={})[:, -1]
    return last


def require_type(module: Any, types: tuple[type, ...]) -> None:
    """Raise NotAccelerated unless ``module`` has exactly one of ``types``."""
    if type(module) not in types:
        raise NotAccelerated(f"the model has a {type(module).__name__}, not a {types[0].__name__}")


def _refuse_settings(module: nn.Module) -> None:
    # getattr would search all three, and raise and catch an exception for each missing name
    for attributes in (vars(module), module._parameters, module._modules):
        for name in sorted(_UNSUPPORTED & attributes.keys()):
            value = attributes[name]
            if isinstance(value, Tensor) or value:
                raise NotAccelerated(f"the model has {name}")
