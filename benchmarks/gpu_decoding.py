"""Whole beam search in fp16 on a GPU: what a pruned Transformer base gains, by what was pruned.

    cd benchmarks && python gpu_decoding.py [--json] [--batches 16,128,512]

Random weights, the shared embedding of 37,000 types left dense. The ways: dense; every other
matrix 90 % empty; 2:4 by torch's kernels for it (docs/performance.md); half of the heads
and of the FFN units cut out (``export --to slim``); none of them left, which is the bound of that.
Sentences of 25 tokens, translations of exactly 26; all ways take turns. Without such a GPU nothing
is measured.
"""

import os

os.environ["TORCH_LINEAR_FLATTEN_3D"] = "1"  # read when torch is loaded

import argparse
import copy
import sys

import torch
from common import report, seconds_in_turn, spread
from decoding import TARGET, Fairseq, random_sentences, transformer, vocabulary
from semi_structured import patterns, semi_structured_class, why_not
from slim import random_components, shapes_of, smaller, zeroed

from fairseq_lottery.compat import use_modules
from fairseq_lottery.formats import trainable
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.masks import densest, find_score, full_mask, score_all, select


def pruned(model, sparsity, scope):
    """A copy without the smallest weights of its projections and FFNs."""
    model = copy.deepcopy(model)
    weights = {name: parameter.detach() for name, parameter in trainable(model).items()}
    full = full_mask(shapes_of(model), "no-embeddings")
    score, _ = find_score("magnitude")
    mask = select(score_all(score, {name: weights[name] for name in full}), full, sparsity, scope)
    for name, keep in mask.items():
        weights[name].mul_(keep)
    return model


def semi_structured(model, kind):
    """With torch's semi-structured weights where the pattern is kept, as the recipe has it."""
    use_modules(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and densest(module.weight != 0, 4) in (0, 1, 2):
            weight = semi_structured_class(kind).from_dense(module.weight.detach())
            module.weight = torch.nn.Parameter(weight, requires_grad=False)


def models(words):
    """Name -> model in fp16 on the GPU."""
    whole, _ = transformer(words, 0.0)
    heads = {f"{side}_attention_heads": 8 for side in ("encoder", "decoder")}
    anatomy = Anatomy.of(shapes_of(whole), heads)
    generator = torch.Generator().manual_seed(2)
    half, none = (
        random_components(anatomy, dict.fromkeys(("heads", "units"), share), False, generator)
        for share in (0.5, 1.0)
    )
    found = {
        "dense": whole,
        "90 %, unstructured": pruned(whole, 0.9, "layer"),
        **{name: pruned(whole, 0.5, "2:4") for name in patterns()},
        "slim: half of heads and units": smaller(zeroed(copy.deepcopy(whole), half), half),
        "slim: none, the bound": smaller(zeroed(copy.deepcopy(whole), none), none),
    }
    found = {name: model.half().cuda() for name, model in found.items()}
    for name in patterns():
        semi_structured(found[name], name)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--batches", default="16,128,512", help="sentences at once")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--types", type=int, default=37_000)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    reason = why_not()
    if reason is not None:
        print(f"gpu_decoding.py: {reason}", file=sys.stderr)
        raise SystemExit(2)
    words = vocabulary(args.types)
    made = models(words)
    rows, record = [], []
    for batch in map(int, args.batches.split(",")):
        sentences = random_sentences(words, batch).cuda()
        ways = {name: Fairseq(model, words, args.beam, sentences) for name, model in made.items()}
        for run in ways.values():
            run()  # the first choose kernels
        seconds = seconds_in_turn(ways, args.repeats, "cuda")
        for way, taken in seconds.items():
            ratios = [a / b for a, b in zip(seconds["dense"], taken)]
            rows.append([batch, way, spread(taken), spread(ratios)])
            record.append({"batch": batch, "way": way, "seconds": taken, "ratios": ratios})
    parameters = {
        name: sum(p.numel() for p in trainable(model).values()) for name, model in made.items()
    }
    gpu = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    title = f"Beam {args.beam}, {TARGET} forced tokens, {args.types} types, fp16 on {gpu}"
    header = ["sentences", "way", "seconds [min, max]", "dense / way"]
    report(title, header, rows, {"gpu": gpu, "ways": record, "parameters": parameters}, args.json)


if __name__ == "__main__":
    main()
