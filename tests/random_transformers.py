"""Transformers of random weights, and batches for them, in the process of the test."""

import argparse

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture

WORDS, DIM, FFN = 80, 32, 48


def dictionary(words=WORDS):
    found = Dictionary()
    for number in range(words - found.nspecial):
        found.add_symbol(str(number))
    return found


class Task:
    source_dictionary = target_dictionary = dictionary()


def settings_of(**changes):
    """The settings of a small Transformer."""
    settings = {"share_all_embeddings": True}
    for side in ("encoder", "decoder"):
        settings[f"{side}_layers"] = settings[f"{side}_attention_heads"] = 2
        settings[f"{side}_embed_dim"], settings[f"{side}_ffn_embed_dim"] = DIM, FFN
    args = argparse.Namespace(**{**settings, **changes})
    base_architecture(args)
    return args


def transformer(density, seed=1, **changes):
    """A Transformer of random weights, whose scores lie apart as a trained one's do."""
    torch.manual_seed(seed)
    model = TransformerModel.build_model(settings_of(**changes), Task)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3.0 * (torch.rand_like(parameter) < density))
    return model.eval()


def batches(count, size, left_pad=True, seed=2):
    """Sentences of 3 to 9 words, with padding at the left as fairseq-generate makes them."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count // size):
        tokens = torch.full((size, 10), 1)
        lengths = torch.randint(4, 11, (size,), generator=generator)
        for row, length in enumerate(lengths):
            words = torch.randint(4, WORDS, (int(length) - 1,), generator=generator)
            start = 10 - int(length) if left_pad else 0
            tokens[row, start : start + int(length)] = torch.cat([words, torch.tensor([2])])
        yield tokens, lengths
