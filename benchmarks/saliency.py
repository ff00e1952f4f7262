"""Time of SynFlow's rounds on a Transformer base (512/2048, 6 + 6 layers, 37,000 types).

    python benchmarks/saliency.py [--json] [--rounds 100] [--sparsity 0.9]

Seconds by the clock and of all cores together are given: on a machine that others use, only the
latter says what two free cores would take. The number of emptied matrices is given as well.
"""

import argparse
import time
from argparse import Namespace
from functools import partial

import torch
from common import report
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture

from fairseq_lottery.formats import trainable
from fairseq_lottery.inference.flow_output import flow_output
from fairseq_lottery.masks import full_mask, select, shapes_of
from fairseq_lottery.saliency import UntrainedModel, find_mask


def build(vocabulary=37_000):
    dictionary = Dictionary()
    for index in range(vocabulary - len(dictionary)):
        dictionary.add_symbol(str(index))
    args = Namespace(share_all_embeddings=True)
    base_architecture(args)
    torch.manual_seed(1)
    return TransformerModel.build_model(
        args, Namespace(source_dictionary=dictionary, target_dictionary=dictionary)
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = build()
    full = full_mask(shapes_of(trainable(model)))
    wall, cpu = time.perf_counter(), time.process_time()
    mask = find_mask(
        UntrainedModel(model, forward=flow_output), "synflow", full, args.sparsity,
        partial(select, scope="global"), args.rounds,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    fewest = min(mask.size(name) - mask.pruned_in(name) for name in mask)
    header = ("rounds", "sparsity", "seconds", "seconds of all cores", "emptied", "fewest kept")
    row = (args.rounds, mask.sparsity, round(wall, 1), round(cpu, 1), len(mask.emptied), fewest)
    title = f"SynFlow over {mask.prunable} weights"
    report(title, header, [row], dict(zip(header, row)), args.json)


if __name__ == "__main__":
    main()
