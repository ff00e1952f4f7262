"""The cost of masks per training update, against plain fairseq in the same process.

    python benchmarks/masking.py [--json] [--layers 6] [--tokens 4096] [--device cuda [--fp16]]

Three equal Transformers are updated in turn (A B C, C B A, ...): by fairseq's adam, by
masked_adam at 90 %, and by adam under torch.nn.utils.prune, which makes every pruned weight anew
in each forward pass (and, unlike the masks here, leaves the state of adam alone). Ratios are taken
round by round. The masking alone is timed too, and given as a share of the plain update. On a GPU
masking matrix by matrix is timed as well, and the kernels of both are counted. The peak of its
memory is taken there too: what a way keeps, and what an update adds to that.
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
from torch.profiler import ProfilerActivity, profile

import fairseq_lottery.plugin  # noqa: F401, E402, I001 - registers masked_adam
from fairseq_lottery.compat import use_modules
from fairseq_lottery.formats import trainable
from fairseq_lottery.masks import find_score, full_mask, score_all, select
from fairseq_lottery.training.optimizers import DeviceMask, MasterTensors, find_masked, zero_pruned_


def build(layers, vocabulary, width=512):
    dictionary = Dictionary()
    for index in range(vocabulary - len(dictionary)):
        dictionary.add_symbol(str(index))
    args = Namespace(
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_embed_dim=width,
        encoder_ffn_embed_dim=4 * width,
        share_all_embeddings=True,
        max_source_positions=1024,
        max_target_positions=1024,
    )
    base_architecture(args)
    torch.manual_seed(1)
    task = Namespace(source_dictionary=dictionary, target_dictionary=dictionary)
    return TransformerModel.build_model(args, task)


def optimizer_for(name, model, fp16):
    args = Namespace(
        optimizer=name, lr=[1e-4], adam_betas="(0.9, 0.98)", adam_eps=1e-8, weight_decay=0.0,
        use_old_adam=False, fp16_adam_stats=False, tpu=False,
    )  # fmt: skip
    parameters = list(model.parameters())
    if not fp16:
        return optim.build_optimizer(args, parameters)
    common = Namespace(
        fp16_init_scale=4, fp16_scale_window=None, fp16_scale_tolerance=0.0, min_loss_scale=1e-4,
        threshold_loss_scale=None, model_parallel_size=1, bf16=False,
        fp16_no_flatten_grads=False, memory_efficient_fp16=False, tpu=False,
    )  # fmt: skip
    rest = {"optimization": Namespace(update_freq=[1]),
            "distributed_training": Namespace(distributed_world_size=1)}  # fmt: skip
    return optim.FP16Optimizer.build_optimizer(
        Namespace(common=common, optimizer=args, **rest), parameters
    )


def mask_of(model):
    named = trainable(model)
    full = full_mask({n: tuple(p.shape) for n, p in named.items()})
    score, _ = find_score("magnitude")
    return select(score_all(score, {n: named[n].detach() for n in full}), full, 0.9)


def now(device):
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def update(model, optimizer, batch):
    device = batch["target"].device.type
    start = now(device)
    optimizer.zero_grad()
    output, _ = model(**batch)
    scores = output.float().transpose(1, 2)
    optimizer.backward(torch.nn.functional.cross_entropy(scores, batch["target"]))
    optimizer.clip_grad_norm(1.0)
    optimizer.step()
    return now(device) - start


def prune_by_torch(model, mask):
    """torch.nn.utils.prune on every linear layer; the embedding, of which it makes no copies
    that are tied, stays dense."""
    use_modules(model)
    for name, module in model.named_modules():
        if type(module) is torch.nn.Linear and f"{name}.weight" in mask:
            keep = mask[f"{name}.weight"].to(module.weight.device)
            prune.custom_from_mask(module, "weight", keep)
    return model


class Sampled(torch.nn.Module):
    """A model that takes its target along, so that one batch feeds both."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, src_tokens, src_lengths, prev_output_tokens, target):
        return self.model(src_tokens, src_lengths, prev_output_tokens)


def ways_of(args):
    """Name -> model and optimizer, and the rows that the masked one zeroes; made in turn, each
    with what its first updates keep, in MB of a GPU's memory."""
    ways, kept, tensors, mask = {}, {}, None, None
    warmed = build(args.layers, args.vocabulary).to(args.device)  # workspaces that libraries keep
    update(Sampled(warmed), optimizer_for("adam", warmed, fp16=False), args.batch)
    del warmed
    for name in ("adam", "masked_adam", "torch.nn.utils.prune"):
        before = allocated(args.device)
        model = build(args.layers, args.vocabulary)
        mask = mask or mask_of(model)
        model = (model.half() if args.fp16 else model).to(args.device)
        if name == "torch.nn.utils.prune":
            model = prune_by_torch(model, mask)
        optimizer = optimizer_for("masked_adam" if name == "masked_adam" else "adam", model,
                                  args.fp16)  # fmt: skip
        if name == "masked_adam":
            tensors = MasterTensors(optimizer, dict(model.named_parameters()))
            find_masked(optimizer).set_keep(tensors.rows(mask))
        ways[name] = (Sampled(model), optimizer)
        for _ in range(2):
            update(*ways[name], args.batch)
        kept[name] = allocated(args.device) - before
    return ways, kept, tensors.rows(mask), mask


def masking_alone(rows, device):
    """Name -> function that zeroes the gradients and the weights."""
    device_mask, tensors = DeviceMask(rows), [tensor for tensor, _ in rows]

    def together():
        device_mask.zero_pruned_([tensor.grad for tensor in tensors])
        device_mask.zero_pruned_(tensors)

    def matrix_by_matrix():
        for tensor, keep in zip(tensors, device_mask.keeps):
            zero_pruned_(tensor.grad, keep)
            zero_pruned_(tensor, keep)

    ways = {"masking alone": together}
    return {**ways, "matrix by matrix": matrix_by_matrix} if device == "cuda" else ways


def kernels(run):
    """Number of kernels that a function starts on a GPU."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    on_device = torch.autograd.DeviceType.CUDA
    return sum(event.device_type == on_device for event in profiler.events())


def allocated(device):
    return torch.cuda.memory_allocated() / 1e6 if device == "cuda" else 0.0


def peak(way, batch):
    """MB that an update adds for a while to what is kept, on a GPU."""
    before = allocated("cuda")
    torch.cuda.reset_peak_memory_stats()
    update(*way, batch)
    return torch.cuda.max_memory_allocated() / 1e6 - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--fp16", action="store_true", help="fairseq's flat fp16")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    length = 32
    tokens = torch.randint(4, args.vocabulary, (args.tokens // length, length)).to(args.device)
    lengths = torch.full((tokens.shape[0],), length, device=args.device)
    args.batch = batch = {
        "src_tokens": tokens,
        "src_lengths": lengths,
        "prev_output_tokens": tokens,
        "target": tokens,
    }
    ways, kept, rows, mask = ways_of(args)
    masking = masking_alone(rows, args.device)
    found = {name: [] for name in (*ways, *masking)}
    for turn in range(args.pairs):
        for name in list(ways) if turn % 2 == 0 else reversed(ways):
            found[name].append(update(*ways[name], batch))
        for name, run in masking.items():
            start = now(args.device)
            run()
            found[name].append(now(args.device) - start)
    ratios = {name: [b / a for a, b in zip(found["adam"], found[name])] for name in ways}
    plain = statistics.median(found["adam"])
    shares = {name: statistics.median(found[name]) / plain for name in masking}
    table = [
        ["plain fairseq, adam", spread(found["adam"]), "1"],
        *(
            [f"{name} at 90 %", spread(found[name]), spread(ratios[name])]
            for name in list(ways)[1:]
        ),
        *([name, spread(found[name]), f"{share:.5f}"] for name, share in shares.items()),
    ]
    title = f"One update of {args.tokens} tokens, {mask.prunable:,} prunable weights"
    header = ["what", "seconds [min, max]", "ratio to plain, round by round"]
    record = {"seconds": found, "ratios": ratios, "masking_share": shares["masking alone"]}
    if args.device == "cuda":
        title += f", {'fp16' if args.fp16 else 'fp32'} on {torch.cuda.get_device_name()}"
        most = {name: kept[name] + peak(way, batch) for name, way in ways.items()}
        header.append("peak MB (ratio)")
        for row, megabytes in zip(table, most.values()):
            row.append(f"{megabytes:.0f} ({megabytes / most['adam']:.3f})")
        record["peak_mb"] = most
        record["kernels"] = {name: kernels(run) for name, run in masking.items()}
        for row, (name, number) in zip(table[len(ways) :], record["kernels"].items()):
            row[0] = f"{name}, {number} kernels"
            row.append("")
    report(title, header, table, record, args.json)


if __name__ == "__main__":
    main()
