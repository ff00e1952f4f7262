"""The cost of exchanging weights as RigL does, against a training update of the same model.

    python benchmarks/exchange.py [--json] [--layers 6] [--width 512] [--tokens 4096]

A Transformer is updated by masked_adam under a random mask with the densities of ERK. Timed are a
plain update, an update that copies and sums dense gradients, and everything that changes the mask:
selection, hash, zeroing of weights and optimizer state. Times are of the CPU, of all threads
together, so other programs do not change them.
"""

import argparse
import time

import torch
from common import report, spread
from masking import Sampled, build, optimizer_for, update

from fairseq_lottery.formats import trainable
from fairseq_lottery.masks import RigL, full_mask
from fairseq_lottery.masks.pruners import PrunerInput
from fairseq_lottery.options import Scope
from fairseq_lottery.training.optimizers import MasterTensors, find_masked, zero_pruned_parameters
from fairseq_lottery.training.pruner_memory import PrunerMemory
from fairseq_lottery.training.pruning_steps import PruningSteps

#: update after which weights are exchanged
STEP = 100


def steps_of(sparsity):
    pruner = RigL(final=sparsity, start=0, end=10**6, every=STEP)
    needs = frozenset(pruner.needs)
    return PruningSteps("rigl", pruner, "magnitude", Scope("erk"), 1, needs, begins=False)


def exchange(steps, memory, model, optimizer, tensors, mask):
    """All that a run does when the mask changes after an update; return the new mask."""
    inputs = memory.pruner_input(STEP, mask, is_first=False)
    exchanged = steps.change_mask(steps.pruner.next_mask, inputs)
    exchanged.digest()
    memory.change(mask, exchanged, [model])
    optimizer.set_keep(tensors.rows(exchanged))
    zero_pruned_parameters(model, exchanged)
    return exchanged


def cpu_seconds(run):
    start = time.process_time()
    run()
    return time.process_time() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokens = torch.randint(4, args.vocabulary, (args.tokens // 32, 32))
    batch = {
        "src_tokens": tokens,
        "src_lengths": torch.full((len(tokens),), 32),
        "prev_output_tokens": tokens,
        "target": tokens,
    }
    model = build(args.layers, args.vocabulary, args.width)
    whole = optimizer_for("masked_adam", model, fp16=False)
    optimizer, tensors = find_masked(whole), MasterTensors(whole, dict(model.named_parameters()))
    steps = steps_of(args.sparsity)
    full = full_mask({name: tuple(p.shape) for name, p in trainable(model).items()})
    mask = steps.pruner.first_mask(PrunerInput(0, full, {}, {}, scope=steps.scope))
    memory = PrunerMemory(steps, mask, {}, is_same_run=False, is_rewound=False)
    memory.bind(whole, tensors, mask, 0)
    optimizer.set_keep(tensors.rows(mask))
    sampled = Sampled(model)

    def change():
        nonlocal mask
        mask = exchange(steps, memory, model, optimizer, tensors, mask)

    seconds = {"update": [], "update with dense gradients": [], "exchange": []}
    for number in range(args.repeats + 1):
        memory.before_update(STEP // 2)  # far from an exchange: nothing is summed
        plain = cpu_seconds(lambda: update(sampled, whole, batch))
        memory.before_update(STEP - 1)
        dense = cpu_seconds(lambda: update(sampled, whole, batch))
        exchanged = cpu_seconds(change)
        if number:  # the first warms up
            for key, value in zip(seconds, (plain, dense, exchanged)):
                seconds[key].append(value)
    ratios = [(d + e - p) / p for p, d, e in zip(*(seconds[key] for key in seconds))]
    rows = [[key, spread(values)] for key, values in seconds.items()]
    rows.append(["cost of an exchange, in updates", spread(ratios)])
    title = (
        f"{mask.prunable / 1e6:.1f} M prunable weights, {args.tokens} tokens an update, CPU seconds"
    )
    record = {"prunable": mask.prunable, "tokens": args.tokens, "seconds": seconds}
    report(title, ["", "median [range]"], rows, {**record, "cost": ratios}, args.json)


if __name__ == "__main__":
    main()
