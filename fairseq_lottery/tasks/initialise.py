"""Fresh weights by a model's own initialiser, for ``--reset random``."""

from __future__ import annotations

from argparse import Namespace

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.tickets import Source, trainable


class _Vocabulary:
    """Stands in for the task while a model is built: it only asks for two dictionaries."""

    def __init__(self, source: int, target: int) -> None:
        self.source_dictionary = _numbered(source)
        self.target_dictionary = self.source_dictionary if source == target else _numbered(target)


def _numbered(size: int) -> Dictionary:
    dictionary = Dictionary()
    for index in range(size - len(dictionary)):
        dictionary.add_symbol(str(index))
    return dictionary


def initial_weights(source: Source, seed: int) -> dict[str, Tensor]:
    """Build the model that ``source`` describes, under ``seed``; name -> fresh weight.

    torch's global generator is left as it was.
    """
    arch = source.architecture.get("arch") or source.architecture.get("_name")
    if arch not in ARCH_MODEL_REGISTRY:
        raise LotteryError(f"{source.path} does not say which architecture it has ({arch!r})")
    sizes = {
        side: source.weights[f"{side}.embed_tokens.weight"].shape[0]
        for side in ("encoder", "decoder")
        if f"{side}.embed_tokens.weight" in source.weights
    }
    encoder = sizes.get("encoder", sizes.get("decoder"))
    if encoder is None:
        raise LotteryError(f"{source.path} has no embedding, so it cannot be built anew")
    arguments = Namespace(**{**source.architecture, "arch": arch})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ARCH_MODEL_REGISTRY[arch].build_model(
            arguments, _Vocabulary(encoder, sizes.get("decoder", encoder))
        )
    return {name: parameter.detach() for name, parameter in trainable(model).items()}
