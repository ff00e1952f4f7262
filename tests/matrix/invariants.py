"""What must hold after every update of a training under a mask, looked at from outside.

Nothing here asks the package where weights are or how many are due: matrices are found by the
kind of their module, counts by the schedule as docs/architecture.md states it, and the
optimizer's tensors by the layouts that fairseq documents.
"""

import copy
import hashlib
import math
import re
from fractions import Fraction
from itertools import chain

import torch
from fairseq.modules import LearnedPositionalEmbedding, MultiheadAttention

_INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_EXPONENT = {"cubic": 3, "linear": 1}


def count(share, size):
    """Weights that a share of ``size`` is: the nearest whole number, halves rounded up."""
    return math.floor(Fraction(repr(float(share))) * size + Fraction(1, 2))


def matrices(model, prunable="all-matrices"):
    """Name -> (parameter, weights that may be pruned) of each tensor that the set names."""
    kinds = {}
    for path, module in model.named_modules():
        if isinstance(module, MultiheadAttention):
            kinds.update({id(part.weight): "attention" for part in module.children()
                          if hasattr(part, "weight")})  # fmt: skip
        elif path.endswith((".fc1", ".fc2")):
            kinds[id(module.weight)] = "ffn"
        elif isinstance(module, torch.nn.Embedding):
            known = not isinstance(module, LearnedPositionalEmbedding)
            kinds[id(module.weight)] = "embedding" if known else "position"
        elif path.endswith("output_projection"):
            kinds.setdefault(id(module.weight), "output")
    wanted = {
        "all-matrices": {"attention", "ffn", "embedding", "output", None},
        "no-embeddings": {"attention", "ffn", None},
        "attention": {"attention"},
        "ffn": {"ffn"},
    }[prunable]
    found = {}
    for name, parameter in model.named_parameters():  # lists a tied tensor once
        kind = kinds.get(id(parameter))
        if name.endswith("_weight"):  # an untrained copy in official fairseq 0.12.2
            continue
        if parameter.dim() == 2 and kind in wanted:
            padding = parameter.shape[1] if kind == "embedding" else 0
            found[name] = (parameter, parameter.numel() - padding)
    return found


def due(task, update):
    """Sparsity that ``--prune-to`` and the schedule's flags ask for, or None before it starts.

    Other pruners than ``gradual`` and ``granet`` hold theirs from the first update on.

    The last step that is not after ``update`` counts: every ``--prune-every`` updates from
    ``--prune-start`` on, and ``--prune-end``.
    """
    if task.prune_to is not None and task.pruner not in ("gradual", "granet"):
        return lambda initial: task.prune_to
    if task.prune_to is None or update < task.prune_start:
        return None
    if task.prune_schedule == "one-shot" or update >= task.prune_end:
        return lambda initial: task.prune_to
    step = update - (update - task.prune_start) % task.prune_every
    left = 1 - (step - task.prune_start) / (task.prune_end - task.prune_start)
    if step == task.prune_start:
        return lambda initial: initial
    power = _EXPONENT[task.prune_schedule]
    return lambda initial: task.prune_to + (initial - task.prune_to) * left**power


def exchanged(task, update, kept):
    """How many of ``kept`` weights of a matrix are exchanged for pruned ones, half a cosine."""
    if task.pruner == "gradual" or not task.prune_start < update < task.prune_end:
        return 0
    if (update - task.prune_start) % task.prune_every:
        return 0
    done = (update - task.prune_start) / (task.prune_end - task.prune_start)
    default = 0.5 if task.pruner in ("itop", "granet") else 0.3
    share = default if task.prune_fraction is None else task.prune_fraction
    return count(share * (1 + math.cos(math.pi * done)) / 2, kept)


def master_parts(trainer, names):
    """Name -> (the optimizer's own tensor, how to cut a tensor of its shape to the parameter)."""
    model = trainer.get_model()
    parameters = [p for p in chain(model.parameters(), trainer.get_criterion().parameters())]
    parameters = [p for p in parameters if p.requires_grad]
    masters = getattr(trainer.optimizer, "fp32_params", None)
    by_id = {id(p): name for name, p in model.named_parameters()}
    parts = {}
    if isinstance(masters, dict):  # one flat copy of all
        (flat,) = masters.values()
        offset = 0
        for p in parameters:
            start, offset = offset, offset + p.numel()
            cut = _cut(start, offset, p.shape)
            parts[by_id.get(id(p))] = (flat, cut)
        assert offset == flat.numel()
    else:
        own = parameters if masters is None else masters
        for p, tensor in zip(parameters, own):
            parts[by_id.get(id(p))] = (tensor, lambda t: t)
    return {name: parts[name] for name in names}


def _cut(start, end, shape):
    return lambda tensor: tensor.reshape(-1)[start:end].view(shape)


def assert_zero_bits(tensor, keep, what):
    """Exactly +0.0 where ``keep`` is False, to the bit."""
    bits = tensor.detach().contiguous().view(_INTEGER[tensor.element_size()])
    assert not bits[~keep.to(bits.device)].any(), f"{what} is not +0.0 where the mask prunes"


class Watch:
    """Called after every update of ``trainer``; raises AssertionError where something leaks.

    Args:
        trainer: before its first update of this process.
    """

    def __init__(self, trainer) -> None:
        self.trainer = trainer
        self.task = trainer.cfg.task
        self.run = trainer.task.run
        found = matrices(trainer.get_model(), self.task.prunable)
        dense = re.compile(self.task.keep_dense or "(?!)")
        self.expected = {name: of for name, of in found.items() if not dense.search(name)}
        self.mask = self.first = self.run.mask
        drawn = self.run.state()["ticket"]
        self.initial = drawn["asked"] if drawn else 0.0
        self.anew = False
        self.looks = self.exchanged = 0

    def goes_on_from(self, initial):
        """A schedule starts anew from ``initial``, which only some of the matrices may have."""
        self.initial, self.anew = initial, True

    def __call__(self) -> None:
        self.looks += 1
        mask = self.run.mask
        if self.task.prune_to is None or self.task.pruner == "gradual":
            assert mask.is_subset_of(self.mask), "a pruned weight has come back"
        elif self.mask.pruned or self.task.pruner == "granet":
            self._assert_exchanged(self.mask, mask)
        self.mask = mask
        self._assert_counts(mask)
        self._assert_zero(mask)

    def _assert_exchanged(self, before, mask):
        """As many come back as are pruned anew (under granet, fewer), with zeros everywhere.

        A weight that is pruned and comes back at once is in both masks.
        """
        update = self.trainer.get_num_updates()
        for name, keep in mask.items():
            kept = self.expected[name][1] - int((~before[name]).sum())
            here = int((keep & ~before[name]).sum())
            assert self.task.pruner == "granet" or int((before[name] & ~keep).sum()) == here
            assert here <= exchanged(self.task, update, kept)
            self.exchanged += here
        both = {name: keep & before[name] for name, keep in mask.items()}
        self._assert_zero(both)

    def _assert_counts(self, mask):
        assert set(mask) == set(self.expected)
        size = {name: self.expected[name][1] for name in mask}
        pruned = {name: int((~keep).sum()) for name, keep in mask.items()}
        asked = due(self.task, self.trainer.get_num_updates())
        share = asked(self.initial) if asked else self.initial
        scope, floor = self.task.scope, self.task.min_density
        if asked is None:
            assert mask == self.first, "nothing is due, and the mask has changed"
        if asked is None and self.anew:
            pass  # of a schedule that is over: counted in the training that it was of
        elif scope == "layer":
            assert pruned == {name: count(share, size[name]) for name in mask}
        else:
            assert sum(pruned.values()) == count(share, sum(size.values()))
        for name in mask:
            assert size[name] - pruned[name] >= math.floor(Fraction(repr(floor)) * size[name])
        assert mask.prunable == sum(size.values()), "a tied tensor counts once"

    def _assert_zero(self, mask):
        trainer = self.trainer
        parts = master_parts(trainer, mask)
        state = trainer.optimizer.optimizer.state
        ema = dict(trainer.ema.get_model().named_parameters()) if trainer.cfg.ema.store_ema else {}
        survivors = 0
        for name, keep in mask.items():
            assert_zero_bits(self.expected[name][0], keep, name)
            own, cut = parts[name]
            assert_zero_bits(cut(own), keep, f"the master of {name}")
            survivors += int(cut(own.detach())[keep.to(own.device)].count_nonzero())
            for key, value in state.get(own, {}).items():
                if torch.is_tensor(value) and value.shape == own.shape:
                    assert_zero_bits(cut(value), keep, f"{key} of {name}")
            if ema:
                assert_zero_bits(ema[name], keep, f"the EMA of {name}")
                if trainer.cfg.ema.ema_fp32:
                    assert_zero_bits(trainer.ema.fp32_params[name], keep, f"fp32 EMA of {name}")
        assert survivors, "everything is zero"

    def digest(self):
        """SHA-256 over the mask, weights, masters and optimizer state, as every rank has them."""
        sha = hashlib.sha256(self.mask.digest().encode())
        trainer = self.trainer
        names = [name for name, _ in trainer.get_model().named_parameters()]
        parts = master_parts(trainer, names)
        state = trainer.optimizer.optimizer.state
        for name, parameter in trainer.get_model().named_parameters():
            own, cut = parts[name]
            values = [parameter, cut(own.detach())]
            of_own = state.get(own, {})
            values += [of_own[key] for key in sorted(of_own) if torch.is_tensor(of_own[key])]
            for value in values:
                bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                sha.update(name.encode() + bits.numpy().tobytes())
        return sha.hexdigest()


#: pruners with the schedule of ``gradual`` whose pruned weights may come back with their values
KEEPING = ("gradual-regrow", "movement")


class KeepingWatch(Watch):
    """The same for pruners of ``KEEPING``: counts are those of ``gradual``, but weights return."""

    def __init__(self, trainer) -> None:
        super().__init__(trainer)
        self.task = copy.deepcopy(self.task)
        self.task.pruner = "gradual"

    def __call__(self) -> None:
        self.looks += 1
        before, self.mask = self.mask, self.run.mask
        self.exchanged += sum(int((keep & ~before[n]).sum()) for n, keep in self.mask.items())
        self._assert_counts(self.mask)
        self._assert_zero(self.mask)


def watch_of(trainer):
    """The watch of a training under a mask."""
    return (KeepingWatch if trainer.cfg.task.pruner in KEEPING else Watch)(trainer)
