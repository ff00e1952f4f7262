"""A plain fairseq training whose matrices are mask x variable, as TensorFlow prunes.

torch's parametrization computes each matrix from a variable and a mask, so the gradient of the
product, the value that a pruned weight keeps, and the value with which it regrows come from
autograd and a plain optimizer. Nothing of the package is used.
"""

import numpy as np
import torch
from fairseq import checkpoint_utils, tasks
from fairseq.data import iterators
from fairseq.trainer import Trainer
from matrix.invariants import count, matrices
from torch.nn.utils import parametrize


def updates(training):
    """Train for ever; yield the number of updates after each one."""
    while True:
        batches = training.epoch.next_epoch_itr(fix_batches_to_gpus=False, shuffle=True)
        frequency = training.cfg.optimization.update_freq[0]
        for samples in iterators.GroupedIterator(batches, frequency):
            training.trainer.train_step(samples)
            yield training.trainer.get_num_updates()


class Masked(torch.nn.Module):
    """mask x variable."""

    def __init__(self, variable):
        super().__init__()
        self.register_buffer("mask", torch.ones_like(variable), persistent=False)

    def forward(self, variable):
        return self.mask * variable


class _Through(torch.autograd.Function):
    """The mask of scores, whose gradient goes to the scores as if it were them."""

    @staticmethod
    def forward(ctx, scores, mask):
        return mask

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Scored(Masked):
    """mask x variable, where the mask is a straight-through function of scores."""

    def __init__(self, variable):
        super().__init__(variable)
        self.scores = torch.nn.Parameter(torch.zeros_like(variable))

    def forward(self, variable):
        return _Through.apply(self.scores, self.mask) * variable


class ScoredApart(Masked):
    """The same with scores that the trainer's optimizer does not know."""

    def __init__(self, variable):
        super().__init__(variable)
        self.scores = torch.zeros_like(variable, requires_grad=True)

    def forward(self, variable):
        return _Through.apply(self.scores, self.mask) * variable


class Reference:
    """The training of a configuration without the lottery, pruned between updates.

    Args:
        cfg: configuration of a training without ``--task ..._lottery``.
        masked: class of the parametrization.
    """

    def __init__(self, cfg, masked=Masked):
        self.cfg = cfg
        np.random.seed(cfg.common.seed)
        torch.manual_seed(cfg.common.seed)
        self.task = tasks.setup_task(cfg.task)
        model = self.task.build_model(cfg.model)
        found = matrices(model)
        self.places = {n: n.rsplit(".", 1) for n in found}
        self.modules = dict(model.named_modules())
        self.padded = {n for n, (p, size) in found.items() if size < p.numel()}
        for owner, attribute in self.places.values():
            module = self.modules[owner]
            kept = masked(getattr(module, attribute).detach())
            parametrize.register_parametrization(module, attribute, kept)
        self.parts = {
            n: self.modules[owner].parametrizations[attribute]
            for n, (owner, attribute) in self.places.items()
        }
        criterion = self.task.build_criterion(cfg.criterion)
        self.task.load_dataset(cfg.dataset.valid_subset, combine=False, epoch=1)
        self.factor = 1.0
        self.trainer = Trainer(cfg, self.task, model, criterion)
        _, self.epoch = checkpoint_utils.load_checkpoint(cfg.checkpoint, self.trainer)

    def note_factor(self):
        """Keep the factor by which the trainer multiplies the gradients of an update."""
        multiply = self.trainer.optimizer.multiply_grads

        def noted(factor):
            self.factor = float(factor)
            multiply(factor)

        self.trainer.optimizer.multiply_grads = noted

    def variables(self):
        return {name: part.original for name, part in self.parts.items()}

    def scores(self):
        return {name: part[0].scores.detach() for name, part in self.parts.items()}

    def masks(self):
        return {name: part[0].mask.bool() for name, part in self.parts.items()}

    def weights(self):
        return {n: getattr(self.modules[owner], a) for n, (owner, a) in self.places.items()}

    def prune(self, share, scores):
        """Mask each matrix anew: the lowest scores, first ones first, but no padding."""
        came_back = 0
        for name, part in self.parts.items():
            ranked = scores[name].detach().numpy().copy()
            if name in self.padded:
                ranked[1] = np.inf
            size = ranked.size - (ranked.shape[1] if name in self.padded else 0)
            order = np.argsort(ranked.ravel(), kind="stable")
            kept = np.ones(ranked.size, dtype=bool)
            kept[order[: count(share, size)]] = False
            kept = torch.from_numpy(kept.reshape(ranked.shape))
            came_back += int((kept & ~part[0].mask.bool()).sum())
            part[0].mask.copy_(kept)
        return came_back
