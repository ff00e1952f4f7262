"""Train linear probes with Adam, by the schedule of Liu et al. 2019."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.masks.streams import permutation, torch_seed


@dataclass(frozen=True)
class Schedule:
    """How probes are trained; the defaults are those of Liu et al. 2019.

    Attributes:
        learning_rate: learning rate of Adam.
        batch: examples of a batch, or sentences with ``by_sentence``.
        epochs: most epochs.
        patience: stop after so many epochs without a better score on the development part.
        by_sentence: whether a batch has whole sentences, as in their toolkit. Its loss is then the
            mean over sentences of the mean over the examples of each (AllenNLP's
            ``sequence_cross_entropy_with_logits`` with the average ``batch``).
    """

    learning_rate: float = 1e-3
    batch: int = 80
    epochs: int = 50
    patience: int = 3
    by_sentence: bool = False


@dataclass(frozen=True)
class Probes:
    """Trained probes.

    Attributes:
        weights: (probes, width, classes), fp32.
        biases: (probes, classes), fp32.
        epochs: epoch of each probe that is kept, from 1.
    """

    weights: Array
    biases: Array
    epochs: Array

    def predict(self, probe: int, vectors: Array) -> Array:
        """Return the classes that a probe predicts for vectors, (examples,)."""
        classes: Array = (vectors @ self.weights[probe] + self.biases[probe]).argmax(1)
        return classes


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread; for small matrices, more threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def train_probes(
    vectors: Array,
    targets: Array,
    classes: int,
    dev_vectors: Array,
    dev_targets: Array,
    dev_score: Callable[[int, Array], float],
    keys: Sequence[str],
    schedule: Schedule = Schedule(),
    sentences: Optional[Array] = None,
) -> Probes:
    """Train several multinomial logistic probes on the same vectors at once.

    Each probe has its own targets, initialisation, order of examples and early stopping, so it does
    not depend on the others. Training them together is faster.

    Args:
        vectors: (examples, width), fp32.
        targets: number of the class of each example for each probe, (probes, examples), int64.
        classes: number of classes.
        dev_vectors: (examples of the development part, width), fp32.
        dev_targets: their targets, (probes, examples), -1 for labels without a class.
        dev_score: returns the score of a probe, by its number, for the predicted classes of the
            development part; higher is better. Of equal scores that with the lower loss is better:
            on little data the score does not change in the first epochs.
        keys: name of the random stream of each probe.
        schedule: how they are trained.
        sentences: sentence of each example; required by ``Schedule.by_sentence``.

    Returns:
        the probes of their best epochs.
    """
    features, labels = torch.from_numpy(vectors), torch.from_numpy(targets)
    held_out, held_out_labels = torch.from_numpy(dev_vectors), torch.from_numpy(dev_targets)
    weight, bias = _initial(keys, features.shape[1], classes)
    optimizer = torch.optim.Adam([weight, bias], lr=schedule.learning_rate)
    best = [(-np.inf, -np.inf)] * len(keys)
    waited = [0] * len(keys)
    epochs = np.zeros(len(keys), dtype=np.int64)
    kept_weight, kept_bias = weight.detach().clone(), bias.detach().clone()
    groups = None if sentences is None or not schedule.by_sentence else _groups(sentences)
    for epoch in range(schedule.epochs):
        for chosen, share in _batches(keys, epoch, len(features), schedule.batch, groups):
            logits = torch.baddbmm(bias[:, None], features[chosen], weight)
            losses = functional.cross_entropy(
                logits.flatten(0, 1), labels.gather(1, chosen).flatten(), reduction="none"
            )
            optimizer.zero_grad()
            (losses * share.flatten()).sum().backward()
            optimizer.step()
        for probe in range(len(keys)):
            if waited[probe] >= schedule.patience:
                continue
            with torch.no_grad():
                logits = held_out @ weight[probe] + bias[probe]
                loss = functional.cross_entropy(
                    logits, held_out_labels[probe], ignore_index=-1, reduction="sum"
                )
            score = dev_score(probe, logits.argmax(1).numpy()), -float(loss)
            waited[probe] += 1
            if score > best[probe]:
                best[probe], waited[probe], epochs[probe] = score, 0, epoch + 1
                kept_weight[probe], kept_bias[probe] = weight[probe].detach(), bias[probe].detach()
        if min(waited) >= schedule.patience:
            break
    return Probes(kept_weight.numpy(), kept_bias.numpy(), epochs)


def _initial(keys: Sequence[str], width: int, classes: int) -> tuple[Tensor, Tensor]:
    """Return weights and biases drawn as ``torch.nn.Linear`` draws them."""
    weights, biases, bound = [], [], width**-0.5
    for key in keys:
        generator = torch.Generator().manual_seed(torch_seed(f"probe-init|{key}"))
        weights.append(torch.empty(width, classes).uniform_(-bound, bound, generator=generator))
        biases.append(torch.empty(classes).uniform_(-bound, bound, generator=generator))
    return torch.stack(weights).requires_grad_(), torch.stack(biases).requires_grad_()


def _groups(sentences: Array) -> list[Tensor]:
    """Return the numbers of the examples of each sentence."""
    order = np.argsort(sentences, kind="stable")
    cuts = np.flatnonzero(np.diff(sentences[order])) + 1
    return [torch.from_numpy(group) for group in np.split(order, cuts)]


def _batches(
    keys: Sequence[str], epoch: int, count: int, size: int, groups: Optional[list[Tensor]]
) -> list[tuple[Tensor, Tensor]]:
    """Return the examples of each batch, (probes, examples), and their shares of its loss."""
    units = count if groups is None else len(groups)
    orders = torch.stack([permutation(f"probe-order|{key}|{epoch}", units) for key in keys])
    batches = []
    for start in range(0, units, size):
        chosen = orders[:, start : start + size]
        if groups is None:
            share = torch.full(chosen.shape, 1 / chosen.shape[1])
        else:
            batch = [[groups[n] for n in row] for row in chosen.tolist()]
            chosen, share = (
                torch.nn.utils.rnn.pad_sequence([torch.cat(row) for row in rows], batch_first=True)
                for rows in (batch, [_shares(sentences) for sentences in batch])
            )
        batches.append((chosen, share))
    return batches


def _shares(sentences: Sequence[Tensor]) -> list[Tensor]:
    """Return the share of each example in a loss in which each sentence has the same share."""
    return [torch.full((len(one),), 1 / (len(sentences) * len(one))) for one in sentences]
