"""Probe the layers of a model for a task, with several seeds and control labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.probing.controls import control_labels, majority, word_majority
from fairseq_lottery.analysis.probing.exact_probe import fit_logistic, fit_ridge, pearson
from fairseq_lottery.analysis.probing.label_scores import F1, by_sentence, label_f1, labels_of
from fairseq_lottery.analysis.probing.linear_probe import Schedule, train_probes
from fairseq_lottery.analysis.probing.spans import span_f1
from fairseq_lottery.analysis.probing.task import ACCURACY, PEARSON, SPAN_F1, Task
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.errors import LotteryError

#: ``adam`` is the schedule of the papers, ``exact`` is scikit-learn
SOLVERS = ("adam", "exact")
#: statistics of rows, with the scores of ``Task.score``
TOKEN_ACCURACY, CONTROL, SELECTIVITY = "token-accuracy", "control", "selectivity"
EPOCHS = "epochs"
MAJORITY, WORD_MAJORITY = "majority", "word-majority"


@dataclass(frozen=True)
class ProbeSettings:
    """How layers are probed.

    Attributes:
        seeds: seeds of initialisation, order of examples and control labels.
        solver: a name of ``SOLVERS``; scores are always predicted by ridge regression.
        schedule: how ``adam`` trains.
        control: whether to also train probes on control labels.
    """

    seeds: Sequence[int] = (1, 2, 3)
    solver: str = "adam"
    schedule: Schedule = field(default_factory=Schedule)
    control: bool = True


@dataclass(frozen=True)
class Portion:
    """The examples of a task on which probes are trained, selected or scored."""

    recording: Recording
    task: Task


@dataclass(frozen=True)
class Portions:
    """Training, development and test part of a task.

    Raises:
        LotteryError: a part is empty, or the labels of the training part are all equal.
    """

    train: Portion
    dev: Portion
    test: Portion

    def __post_init__(self) -> None:
        parts = {"training": self.train, "development": self.dev, "test": self.test}
        for name, portion in parts.items():
            labels = set(portion.task.labels.tolist())
            is_numeric = self.train.task.score == PEARSON
            if not labels or (len(labels) == 1 and (is_numeric or name == "training")):
                count = f"only the label {min(labels)!r}" if labels else "no label"
                raise LotteryError(
                    f"{portion.task.name} has {count} in the {name} sentences; record more"
                    " sentences, or probe another label"
                )

    @property
    def tasks(self) -> tuple[Task, Task, Task]:
        """Return the tasks of the three parts."""
        return self.train.task, self.dev.task, self.test.task


def probe(
    portions: Portions,
    settings: ProbeSettings = ProbeSettings(),
    advance: Callable[[], Any] = lambda: None,
    layers: Optional[Iterable[int]] = None,
) -> Iterator[Row]:
    """Probe the layers of a part of a model for a task, and yield rows.

    The rows of a layer and seed have the score on the test part (``accuracy``, ``span-f1`` or
    ``pearson``), the score of control labels (``control``), and ``selectivity``, their difference
    (Hewitt & Liang 2019); with ``adam`` also the epoch that was kept (``epochs``). Each label of
    the test part, or type of spans, has its ``f1``, with the column ``label``. Control labels
    of BIO tasks are scored by accuracy, and so is selectivity, with ``token-accuracy``.
    Baselines (``majority``, and ``word-majority`` by the first word of an example) have no layer.

    Args:
        portions: examples of the task.
        settings: how to probe.
        advance: called after each layer.
        layers: layers to probe, by default all.
    """
    train, _, test = portions.tasks
    place = {"measure": "probe", "task": train.name, "part": train.part}
    for statistic, value in _baselines(train, test):
        yield {**place, "statistic": statistic, "value": value}
    labels = labels_of(test)
    for layer in layers or portions.train.recording.layers(train.part):
        values, predictions = _probe_layer(portions, settings, layer)
        for seed, by_statistic, predicted in zip(settings.seeds, values, predictions):
            of_seed: Row = {**place, "layer": layer, "seed": seed}
            for statistic, value in by_statistic.items():
                yield {**of_seed, "statistic": statistic, "value": float(value)}
            for label in labels if train.score != PEARSON else ():
                f1 = label_f1(test, predicted, label, train.score)
                yield {**of_seed, "label": label, "statistic": F1, "value": f1}
        advance()


def score(task: Task, predicted: Array, statistic: Optional[str] = None) -> float:
    """Return the score of predictions for the examples of a task.

    Args:
        predicted: predicted label of each example.
        statistic: ``accuracy``, ``span-f1`` or ``pearson``; by default that of the task's labels.
    """
    statistic = statistic or task.score
    if statistic == PEARSON:
        return pearson(task.labels, np.asarray(predicted, dtype=np.float64))
    if statistic == ACCURACY:
        return float((task.labels == predicted).mean())
    return span_f1(by_sentence(task, task.labels), by_sentence(task, predicted))


def _baselines(train: Task, test: Task) -> Iterator[tuple[str, float]]:
    if train.score == PEARSON:
        return
    guesses = {
        MAJORITY: np.full(len(test), majority(train.labels), dtype=object),
        WORD_MAJORITY: word_majority(train.types, train.labels, test.types),
    }
    for statistic, predicted in guesses.items():
        yield statistic, score(test, predicted, train.score)


def _probe_layer(
    portions: Portions, settings: ProbeSettings, layer: int
) -> tuple[list[dict[str, float]], list[Array]]:
    """Return statistic -> value for each seed, and the predictions for the test part."""
    parts = (portions.train, portions.dev, portions.test)
    vectors = [one.task.vectors(one.recording, layer) for one in parts]
    variants = [portions.tasks]
    if settings.control:
        variants += [_controlled(portions.tasks, seed) for seed in settings.seeds]
    if portions.train.task.score == PEARSON:
        predictions = [
            fit_ridge(vectors[0], own.labels, vectors[1], dev.labels)(vectors[2])
            for own, dev, _ in variants
        ]
        scores = [score(test, p) for (_, _, test), p in zip(variants, predictions)]
        count = len(settings.seeds)
        return _by_seed(PEARSON, [scores[0]] * count, scores[1:]), predictions[:1] * count
    statistic = portions.train.task.score
    if settings.solver == "exact":
        epochs: list[float] = []
        predictions = [
            _exact(variant, vectors, ACCURACY if number else statistic)
            for number, variant in enumerate(variants)
        ]
        of_labels, of_controls = predictions[:1] * len(settings.seeds), predictions[1:]
    else:
        of_labels, of_controls, epochs = _adam(variants, vectors, settings, layer)
    test = portions.test.task
    accuracies = [score(test, predicted, ACCURACY) for predicted in of_labels]
    controls = [
        score(variant[2], predicted, ACCURACY)
        for variant, predicted in zip(variants[1:], of_controls)
    ]
    values = _by_seed(ACCURACY, accuracies, controls)
    if statistic == SPAN_F1:
        for own, predicted in zip(values, of_labels):
            own[TOKEN_ACCURACY] = own.pop(ACCURACY)
            own[SPAN_F1] = score(test, predicted, SPAN_F1)
    for own, epoch in zip(values, epochs):
        own[EPOCHS] = epoch
    return values, of_labels


def _by_seed(
    statistic: str, scores: Sequence[float], controls: Sequence[float]
) -> list[dict[str, float]]:
    values = [{statistic: value} for value in scores]
    for own, control in zip(values, controls):
        own.update({CONTROL: control, SELECTIVITY: own[statistic] - control})
    return values


def _controlled(tasks: Sequence[Task], seed: int) -> tuple[Task, Task, Task]:
    """Return the tasks with control labels."""
    train = tasks[0]
    types = np.concatenate([task.types for task in tasks])
    by_type = control_labels(types, train.labels, f"probe-control|{seed}|{train.name}")
    first, second, third = (
        replace(
            task,
            labels=np.array([by_type[name] for name in task.types.tolist()], train.labels.dtype),
        )
        for task in tasks
    )
    return first, second, third


def _exact(tasks: Sequence[Task], vectors: Sequence[Array], statistic: str) -> Array:
    """Return the predictions for the test part."""
    train, dev, _ = tasks
    labels = train.labels.astype(str)
    predict = fit_logistic(
        vectors[0], labels, vectors[1], lambda p: score(dev, p.astype(object), statistic)
    )
    return predict(vectors[2]).astype(object)


def _adam(
    variants: Sequence[Sequence[Task]],
    vectors: Sequence[Array],
    settings: ProbeSettings,
    layer: int,
) -> tuple[list[Array], list[Array], list[float]]:
    """Train probes of each seed.

    Returns:
        predictions for the test part of probes for labels, and for control labels; and the epochs
        of the probes for labels.
    """
    train = variants[0][0]
    classes = np.array(sorted(set(train.labels.tolist())), dtype=object)
    numbers = {label: number for number, label in enumerate(classes)}
    seeds = list(settings.seeds)
    chosen = [variants[0]] * len(seeds) + list(variants[1:])
    statistics = [train.score] * len(seeds) + [ACCURACY] * (len(chosen) - len(seeds))
    place = f"{train.name}|{train.part}|{layer}"
    keys = [f"labels|{seed}|{place}" for seed in seeds]
    keys += [f"control|{seed}|{place}" for seed in seeds[: len(chosen) - len(seeds)]]
    targets, dev_targets = (
        np.array([[numbers.get(label, -1) for label in own[part].labels] for own in chosen])
        for part in (0, 1)
    )
    probes = train_probes(
        vectors[0],
        targets,
        len(classes),
        vectors[1],
        dev_targets,
        lambda probe, p: score(chosen[probe][1], classes[p], statistics[probe]),
        keys,
        settings.schedule,
        train.sentences,
    )
    predictions = [classes[probes.predict(n, vectors[2])] for n in range(len(keys))]
    count = len(seeds)
    return predictions[:count], predictions[count:], probes.epochs[:count].tolist()
