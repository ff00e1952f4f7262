"""The cost of pruners that keep values or learn scores, against the pruner gradual.

    python benchmarks/pruners.py [--json] [--layers 6] [--tokens 4096] [--threads 2]

Equal Transformers under masked_adam and one mask of 90 % are updated in turn (A B C D, D C B A,
...). With gradual and gradual-regrow an update is the same; movement and soft-movement learn their
scores in it. Ratios are taken round by round. What only some pruners do is timed alone as well:
learning the scores of an update, and a change of the mask (scores, selection, enforcing). Memory
beyond that of gradual is the size of the tensors that a pruner keeps.
"""

import argparse
import statistics
import time

import torch
from common import report, spread
from masking import Sampled, build, mask_of, optimizer_for, update

from fairseq_lottery.masks import PRUNERS, PrunerInput, find_score, score_all
from fairseq_lottery.training.optimizers import MasterTensors, find_masked
from fairseq_lottery.training.pruned_values import PrunedValues

NAMES = ("gradual", "gradual-regrow", "movement", "soft-movement")


class Way:
    """A model under a pruner, in the middle of its schedule."""

    def __init__(self, name, args):
        self.batch, self.model = args.batch, build(args.layers, args.vocabulary)
        start = {"initial": 0.0} if name != "soft-movement" else {}
        self.pruner = PRUNERS[name](final=0.95, start=1, end=511, every=10, **start)
        self.optimizer = optimizer_for("masked_adam", self.model, fp16=False)
        self.tensors = MasterTensors(self.optimizer, dict(self.model.named_parameters()))
        self.masked = find_masked(self.optimizer)
        self.mask, self.values = mask_of(self.model), None
        if self.pruner.keeps_values:
            stored = {"pruned_values": {}}
            self.values = PrunedValues(self.pruner, self.tensors, self.mask, stored)
        self.masked.set_keep(self.tensors.rows(self.mask))
        if self.pruner.learned:
            self.masked.before_step = lambda factor: self.values.scores.learn(500, factor)
        self.sampled = Sampled(self.model)
        self.update()

    def update(self):
        return update(self.sampled, self.optimizer, self.batch)

    def learn(self):
        """Seconds to keep dense gradients through the clipping, and to learn the scores."""
        if not self.pruner.learned:
            return 0.0
        times = [time.perf_counter()]
        self.masked.clip_grad_norm(1.0)
        times.append(time.perf_counter())
        learn, self.masked.before_step = self.masked.before_step, None
        self.masked.clip_grad_norm(1.0)
        times.append(time.perf_counter())
        self.masked.before_step = learn
        learn(1.0)
        times.append(time.perf_counter())
        dense, plain, learning = (end - start for start, end in zip(times, times[1:]))
        return dense - plain + learning

    def change(self):
        """Seconds of a change of the mask, without enforcing it on what comes later."""
        start = time.perf_counter()
        views = self.tensors.views
        weights = self.values.weights if self.values else {n: views[n] for n in self.mask}
        scores = score_all(find_score("magnitude")[0], weights)
        learned = self.values.scores.tensors if self.pruner.learned else None
        given = PrunerInput(501, self.mask, weights, scores, learned=learned)
        mask = self.pruner.next_mask(given)
        if self.values:
            self.values.change(self.mask, mask, [self.model])
        self.masked.set_keep(self.tensors.rows(mask))
        self.mask = mask
        return time.perf_counter() - start

    def extra(self):
        """Bytes for each prunable weight besides those of gradual."""
        if self.values is None:
            return 0.0
        kept = list(self.values._values.values())
        for by_name in self.values.scores.tensors.values() if self.values.scores else ():
            kept += by_name.values()
        sizes = sum(tensor.numel() * tensor.element_size() for tensor in kept)
        return sizes / sum(keep.numel() for keep in self.mask.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    length = 32
    tokens = torch.randint(4, args.vocabulary, (args.tokens // length, length))
    args.batch = {
        "src_tokens": tokens,
        "src_lengths": torch.full((tokens.shape[0],), length),
        "prev_output_tokens": tokens,
        "target": tokens,
    }
    ways = {name: Way(name, args) for name in NAMES}
    found = {kind: {name: [] for name in NAMES} for kind in ("update", "learn", "change")}
    for turn in range(args.rounds):
        for name in NAMES if turn % 2 == 0 else reversed(NAMES):
            for kind, seconds in found.items():
                seconds[name].append(getattr(ways[name], kind)())
    base = found["update"]["gradual"]
    table = []
    for name, way in ways.items():
        seconds = {kind: found[kind][name] for kind in found}
        ratios = [ours / theirs for ours, theirs in zip(seconds["update"], base)]
        share = statistics.median(seconds["learn"]) / statistics.median(base)
        row = [name, spread(seconds["update"]), spread(ratios), f"{share:.4f}"]
        table.append([*row, spread(seconds["change"]), f"{way.extra():.0f}"])
    header = ["pruner", "update, s", "ratio to gradual", "learning alone, share of an update"]
    header += ["change of the mask, s", "bytes per prunable weight"]
    mask = ways["gradual"].mask
    title = f"{args.tokens} tokens, {mask.prunable:,} prunable weights"
    report(title, header, table, {"seconds": found}, args.json)


if __name__ == "__main__":
    main()
