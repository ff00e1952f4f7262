"""A small Transformer of random weights in fairseq, and sentences for it."""

import argparse

import torch
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.sequence_generator import SequenceGenerator
from random_transformers import dictionary

from fairseq_lottery.formats import trainable
from fairseq_lottery.heads.components.anatomy import Anatomy

WORDS, DIM, FFN, HEADS, LAYERS = 60, 16, 24, 4, 2


class Task:
    source_dictionary = target_dictionary = dictionary(WORDS)


def transformer(scale=2.0, seed=1, **changes):
    """In evaluation mode; weights and biases are large enough for every part to matter."""
    args = argparse.Namespace(
        encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_embed_dim=DIM, decoder_embed_dim=DIM,
        encoder_ffn_embed_dim=FFN, decoder_ffn_embed_dim=FFN, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, **{"share_all_embeddings": True, **changes},
    )  # fmt: skip
    base_architecture(args)
    torch.manual_seed(seed)
    model = TransformerModel.build_model(args, Task)
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            if parameter.dim() == 2:
                parameter.mul_(scale)
            elif name.endswith(".bias"):
                parameter.normal_(0, 0.3)
    return model.eval()


def anatomy(model):
    """Of a Transformer made here."""
    shapes = {name: tuple(p.shape) for name, p in trainable(model).items()}
    heads = {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS}
    return Anatomy.of(shapes, heads)


def sentences(count=6, seed=2):
    """A batch as fairseq makes them: source padded at the left, target at the right."""
    generator = torch.Generator().manual_seed(seed)
    source, target = torch.full((count, 9), 1), torch.full((count, 8), 1)
    lengths = torch.randint(4, 10, (count,), generator=generator)
    for row, length in enumerate(lengths.tolist()):
        words = torch.randint(4, WORDS, (length - 1,), generator=generator)
        source[row, 9 - length :] = torch.cat([words, torch.tensor([2])])
        words = torch.randint(4, WORDS, (length - 2,), generator=generator)
        target[row, : length - 1] = torch.cat([words, torch.tensor([2])])
    previous = torch.cat([torch.full((count, 1), 2), target[:, :-1]], dim=1)
    previous[previous == 2] = 1
    previous[:, 0] = 2
    given = {"src_tokens": source, "src_lengths": lengths, "prev_output_tokens": previous}
    return {"net_input": given, "target": target}


def log_probs(model, batch):
    """(batch, time, words) under teacher forcing."""
    return torch.log_softmax(model(**batch["net_input"])[0], dim=-1)


def loss(model, batch):
    """Summed negative log-likelihood, tokens, sentences."""
    target = batch["target"]
    picked = log_probs(model, batch).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    real = target != 1
    return -picked[real].sum(), int(real.sum()), len(target)


def translate(model, batch, beam=3):
    """Tokens and scores of the best translations, decoded step by step."""
    generator = SequenceGenerator([model], Task.target_dictionary, beam_size=beam, max_len_b=8)
    sample = {"net_input": {k: batch["net_input"][k] for k in ("src_tokens", "src_lengths")}}
    return [
        (one[0]["tokens"], one[0]["positional_scores"])
        for one in generator.generate([model], sample)
    ]
