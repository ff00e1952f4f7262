"""The cost of masks per training update, against plain fairseq in the same process.

    python benchmarks/masking.py [--json] [--layers 6] [--tokens 4096]

Three equal Transformers are updated in turn (A B C, C B A, ...): by fairseq's adam, by
masked_adam at 90 %, and by adam under torch.nn.utils.prune, which makes every pruned weight anew
in each forward pass (and, unlike the masks here, leaves the state of adam alone). Ratios are taken
round by round. The masking alone is timed too, and given as a share of the plain update.
"""

import argparse
import statistics
import time
from argparse import Namespace

import torch
from common import report, spread
from fairseq import optim
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from torch.nn.utils import prune

import fairseq_lottery.plugin  # noqa: F401, E402, I001 - registers masked_adam
from fairseq_lottery.compat import use_modules
from fairseq_lottery.masks import find_score, full_mask, score_all, select
from fairseq_lottery.optim import MasterTensors
from fairseq_lottery.optim.zero import zero_pruned_
from fairseq_lottery.tickets import trainable


def build(layers, vocabulary):
    dictionary = Dictionary()
    for index in range(vocabulary - len(dictionary)):
        dictionary.add_symbol(str(index))
    args = Namespace(
        encoder_layers=layers,
        decoder_layers=layers,
        share_all_embeddings=True,
        max_source_positions=1024,
        max_target_positions=1024,
    )
    base_architecture(args)
    torch.manual_seed(1)
    task = Namespace(source_dictionary=dictionary, target_dictionary=dictionary)
    return TransformerModel.build_model(args, task)


def optimizer_for(name, model):
    args = Namespace(
        optimizer=name, lr=[1e-4], adam_betas="(0.9, 0.98)", adam_eps=1e-8, weight_decay=0.0,
        use_old_adam=False, fp16_adam_stats=False, tpu=False,
    )  # fmt: skip
    return optim.build_optimizer(args, list(model.parameters()))


def mask_of(model):
    named = trainable(model)
    full = full_mask({n: tuple(p.shape) for n, p in named.items()})
    score, _ = find_score("magnitude")
    return select(score_all(score, {n: named[n].detach() for n in full}), full, 0.9)


def update(model, optimizer, batch):
    start = time.perf_counter()
    optimizer.zero_grad()
    output, _ = model(**batch)
    optimizer.backward(torch.nn.functional.cross_entropy(output.transpose(1, 2), batch["target"]))
    optimizer.clip_grad_norm(1.0)
    optimizer.step()
    return time.perf_counter() - start


def prune_by_torch(model, mask):
    """torch.nn.utils.prune on every linear layer; the embedding, of which it makes no copies
    that are tied, stays dense."""
    use_modules(model)
    for name, module in model.named_modules():
        if type(module) is torch.nn.Linear and f"{name}.weight" in mask:
            prune.custom_from_mask(module, "weight", mask[f"{name}.weight"])
    return model


class Sampled(torch.nn.Module):
    """A model that takes its target along, so that one batch feeds both."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, src_tokens, src_lengths, prev_output_tokens, target):
        return self.model(src_tokens, src_lengths, prev_output_tokens)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    length = 32
    tokens = torch.randint(4, args.vocabulary, (args.tokens // length, length))
    lengths = torch.full((tokens.shape[0],), length)
    batch = {
        "src_tokens": tokens,
        "src_lengths": lengths,
        "prev_output_tokens": tokens,
        "target": tokens,
    }
    plain, masked = build(args.layers, args.vocabulary), build(args.layers, args.vocabulary)
    adam, masked_adam = optimizer_for("adam", plain), optimizer_for("masked_adam", masked)
    mask = mask_of(masked)
    tensors = MasterTensors(masked_adam, dict(masked.named_parameters()))
    rows = tensors.rows(mask)
    masked_adam.set_keep(rows)
    hooked = prune_by_torch(build(args.layers, args.vocabulary), mask)
    hooked_adam = optimizer_for("adam", hooked)
    plain, masked, hooked = Sampled(plain), Sampled(masked), Sampled(hooked)
    ways = {
        "adam": (plain, adam),
        "masked_adam": (masked, masked_adam),
        "torch.nn.utils.prune": (hooked, hooked_adam),
    }
    for _ in range(2):
        for model, optimizer in ways.values():
            update(model, optimizer, batch)
    found = {name: [] for name in (*ways, "masking alone")}
    for turn in range(args.pairs):
        for name in list(ways) if turn % 2 == 0 else reversed(ways):
            found[name].append(update(*ways[name], batch))
        start = time.perf_counter()
        for tensor, keep in rows:
            if keep is not None:
                zero_pruned_(tensor.grad, keep)
                zero_pruned_(tensor, keep)
        found["masking alone"].append(time.perf_counter() - start)
    ratios = {name: [b / a for a, b in zip(found["adam"], found[name])] for name in ways}
    share = statistics.median(found["masking alone"]) / statistics.median(found["adam"])
    table = [
        ["plain fairseq, adam", spread(found["adam"]), "1"],
        *(
            [f"{name} at 90 %", spread(found[name]), spread(ratios[name])]
            for name in list(ways)[1:]
        ),
        ["masking alone", spread(found["masking alone"]), f"{share:.5f}"],
    ]
    title = f"One update of {args.tokens} tokens, {mask.prunable:,} prunable weights"
    header = ["what", "seconds [min, max]", "ratio to plain, round by round"]
    record = {"seconds": found, "ratios": ratios, "masking_share": share}
    report(title, header, table, record, args.json)


if __name__ == "__main__":
    main()
