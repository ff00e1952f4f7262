"""Probes against scikit-learn and a direct computation, control tasks, and their statistics."""

from statistics import fmean

import numpy as np
import pytest
import torch
from analysis.written_recordings import write_activations
from sklearn.linear_model import LogisticRegression, Ridge

from fairseq_lottery.analysis.probing.controls import control_labels, majority, word_majority
from fairseq_lottery.analysis.probing.exact_probe import (
    INVERSE_PENALTIES,
    PENALTIES,
    fit_logistic,
    fit_ridge,
    pearson,
)
from fairseq_lottery.analysis.probing.linear_probe import Schedule, train_probes
from fairseq_lottery.analysis.probing.probe import Portion, Portions, ProbeSettings, probe, score
from fairseq_lottery.analysis.probing.split import split_sentences
from fairseq_lottery.analysis.probing.task import Task
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.streams import permutation, torch_seed


def clusters(seed, count, classes, width, noise):
    """Vectors around one centre for each class, and their classes."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = chance.integers(0, classes, count)
    vectors = centres[labels] + noise * chance.normal(size=(count, width))
    return vectors.astype(np.float32), labels


def accuracy_on(labels):
    return lambda *arguments: float((arguments[-1] == labels).mean())


def test_separable_classes_are_learned_and_other_labels_are_not():
    train, labels = clusters(1, 800, 4, 20, 0.3)
    dev, dev_labels = clusters(2, 200, 4, 20, 0.3)
    test, test_labels = clusters(3, 400, 4, 20, 0.3)
    noise = np.random.default_rng(4).integers(0, 4, 800)
    probes = train_probes(
        train, np.stack([labels, noise]), 4, dev, np.stack([dev_labels] * 2),
        lambda _, p: float((p == dev_labels).mean()), ["one", "two"], Schedule(0.02, epochs=20),
    )  # fmt: skip
    assert (probes.predict(0, test) == test_labels).mean() == 1.0
    assert (probes.predict(1, test) == test_labels).mean() < 0.5
    assert 1 <= min(probes.epochs) and max(probes.epochs) <= 20


def one_probe(train, labels, classes, dev, dev_labels, key, schedule):
    """The same schedule with torch.nn.Linear, one example list at a time."""
    layer = torch.nn.Linear(train.shape[1], classes)
    generator = torch.Generator().manual_seed(torch_seed(f"probe-init|{key}"))
    bound = train.shape[1] ** -0.5
    with torch.no_grad():
        start = torch.empty(train.shape[1], classes).uniform_(-bound, bound, generator=generator)
        layer.weight.copy_(start.T)
        layer.bias.uniform_(-bound, bound, generator=generator)
    adam = torch.optim.Adam(layer.parameters(), lr=schedule.learning_rate)
    best, waited, kept, epochs, chosen = (-1.0, 0.0), 0, None, 0, 0
    while epochs < schedule.epochs and waited < schedule.patience:
        for batch in permutation(f"probe-order|{key}|{epochs}", len(train)).split(schedule.batch):
            adam.zero_grad()
            logits = layer(torch.from_numpy(train)[batch])
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)[batch]).backward()
            adam.step()
        with torch.no_grad():
            logits = layer(torch.from_numpy(dev))
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(dev_labels))
        found = (logits.argmax(1).numpy() == dev_labels).mean(), -float(loss)
        waited, epochs = waited + 1, epochs + 1
        if found > best:
            best, waited, chosen = found, 0, epochs
            kept = layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()
    return (*kept, chosen)


def test_each_probe_trains_as_if_it_were_alone():
    train, labels = clusters(1, 333, 5, 12, 1.5)
    dev, dev_labels = clusters(2, 100, 5, 12, 1.5)
    targets = np.stack([labels, np.roll(labels, 1), labels])
    schedule = Schedule(learning_rate=0.01, epochs=12)
    probes = train_probes(
        train, targets, 5, dev, np.stack([dev_labels] * 3),
        lambda _, p: float((p == dev_labels).mean()), ["a", "b", "c"], schedule,
    )  # fmt: skip
    for number, key in enumerate("abc"):
        weight, bias, epochs = one_probe(train, targets[number], 5, dev, dev_labels, key, schedule)
        np.testing.assert_allclose(probes.weights[number], weight, atol=2e-5)
        np.testing.assert_allclose(probes.biases[number], bias, atol=2e-5)
        assert probes.epochs[number] == epochs
    assert len(set(probes.epochs.tolist())) > 1
    assert not np.allclose(probes.weights[0], probes.weights[2])


def test_batches_of_sentences_with_one_word_each_are_batches_of_words():
    train, labels = clusters(1, 200, 3, 6, 1.0)
    dev, dev_labels = clusters(2, 50, 3, 6, 1.0)
    arguments = (
        train, labels[None], 3, dev, dev_labels[None],
        lambda _, p: float((p == dev_labels).mean()), ["k"],
    )  # fmt: skip
    plain = train_probes(*arguments, Schedule(epochs=3))
    whole = train_probes(*arguments, Schedule(epochs=3, by_sentence=True), np.arange(200))
    np.testing.assert_allclose(plain.weights, whole.weights, atol=1e-6)
    longer = train_probes(*arguments, Schedule(epochs=3, by_sentence=True), np.arange(200) // 4)
    assert not np.allclose(plain.weights, longer.weights)


def test_a_batch_of_all_sentences_is_full_gradient_descent():
    """Of unequal lengths, to the mean over sentences of means over words; Adam by hand."""
    train, labels = clusters(1, 40, 2, 3, 1.0)
    lengths = [1, 9, 10, 20]
    sentences = np.repeat(np.arange(4), lengths)
    schedule = Schedule(learning_rate=0.1, epochs=3, by_sentence=True)
    probes = train_probes(
        train, labels[None], 2, train, labels[None], lambda _, p: 1.0, ["k"], schedule, sentences
    )
    generator = torch.Generator().manual_seed(torch_seed("probe-init|k"))
    start = torch.empty(3, 2).uniform_(-(3**-0.5), 3**-0.5, generator=generator).numpy()
    bias = torch.empty(2).uniform_(-(3**-0.5), 3**-0.5, generator=generator).numpy()

    def trained(shares):
        weights, inputs = np.vstack([start, bias]), np.hstack([train, np.ones((40, 1))])
        mean, square = np.zeros((2, 4, 2))
        for step in range(1, 4):
            logits = inputs @ weights
            softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            gradient = inputs.T @ (shares[:, None] * (softmax - np.eye(2)[labels]))
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            root = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            weights = weights - 0.1 * mean / (1 - 0.9**step) / root
        return weights[:3]

    assert probes.epochs.tolist() == [3]
    by_sentence = trained(np.concatenate([np.full(n, 1 / (4 * n)) for n in lengths]))
    np.testing.assert_allclose(probes.weights[0], by_sentence, atol=1e-5)
    assert np.abs(by_sentence - trained(np.full(40, 1 / 40))).max() > 1e-3


def test_exact_probes_are_those_of_scikit_learn():
    train, labels = clusters(1, 300, 3, 8, 2.0)
    dev, dev_labels = clusters(2, 150, 3, 8, 2.0)
    predict = fit_logistic(train, labels, dev, accuracy_on(dev_labels))
    models = [LogisticRegression(C=c, max_iter=500).fit(train, labels) for c in INVERSE_PENALTIES]
    best = max(models, key=lambda model: model.score(dev, dev_labels))
    assert (predict(dev) == best.predict(dev)).all()
    scores = train @ np.arange(8) + np.random.default_rng(0).normal(size=300)
    dev_scores = dev @ np.arange(8)
    guess = fit_ridge(train, scores, dev, dev_scores)(dev)
    centred = train.astype(float) - train.mean(0, dtype=float)
    candidates = []
    for penalty in PENALTIES:
        matrix = centred.T @ centred + penalty * np.eye(8)
        weights = np.linalg.solve(matrix, centred.T @ (scores - scores.mean()))
        candidates.append((dev - train.mean(0, dtype=float)) @ weights + scores.mean())
    best = max(candidates, key=lambda one: np.corrcoef(one, dev_scores)[0, 1])
    np.testing.assert_allclose(guess, best, rtol=1e-4)
    assert Ridge(alpha=1.0).fit(train, scores).score(dev, dev_scores) > 0.9


def test_one_class_is_predicted_without_a_fit(tmp_path):
    train, labels = clusters(1, 300, 3, 8, 2.0)
    predict = fit_logistic(train, np.full(300, 2), train[:50], accuracy_on(labels[:50]))
    assert predict(train[:7]).tolist() == [2] * 7
    # the control label of the only word is a constant, though the labels of the task are not
    portions = make_portions(tmp_path, train, [str(n) for n in labels], ["w"] * 300)
    rows = list(probe(portions, ProbeSettings(seeds=(1,), solver="exact")))
    assert statistics_of(rows, "control") == [1.0]


def test_adam_and_exact_agree_if_adam_has_the_steps():
    train, labels = clusters(1, 4000, 4, 10, 1.5)
    dev, dev_labels = clusters(2, 500, 4, 10, 1.5)
    test, test_labels = clusters(3, 2000, 4, 10, 1.5)
    probes = train_probes(
        train, labels[None], 4, dev, dev_labels[None],
        lambda _, p: float((p == dev_labels).mean()), ["k"], Schedule(0.01, patience=10),
    )  # fmt: skip
    exact = fit_logistic(train, labels, dev, accuracy_on(dev_labels))
    own = (probes.predict(0, test) == test_labels).mean()
    assert own == pytest.approx((exact(test) == test_labels).mean(), abs=0.01)


def test_pearson():
    chance = np.random.default_rng(0)
    first, second = chance.normal(size=(2, 50))
    assert pearson(first, second) == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert pearson(first, np.zeros(50)) == 0


def test_control_labels_are_a_random_function_of_the_word():
    chance = np.random.default_rng(0)
    types = np.array([f"w{n}" for n in range(5000)], dtype=object)
    labels = np.array(["a"] * 70 + ["b"] * 20 + ["c"] * 10, dtype=object)
    control = control_labels(types, labels, "probe-control|1|t")
    shares = [list(control.values()).count(label) / 5000 for label in "abc"]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.02)
    shuffled = control_labels(chance.permutation(types)[:100], labels, "probe-control|1|t")
    assert all(control[name] == label for name, label in shuffled.items())
    other = control_labels(types, labels, "probe-control|2|t")
    agreement = np.mean([control[name] == other[name] for name in control])
    assert agreement == pytest.approx(0.7**2 + 0.2**2 + 0.1**2, abs=0.02)  # that of chance


def test_baselines_by_hand():
    labels = np.array(["b", "a", "b", "c", "a"], dtype=object)
    types = np.array(["x", "x", "y", "y", "y"], dtype=object)
    assert majority(labels) == "a"
    asked = np.array(["x", "y", "z"], dtype=object)
    assert word_majority(types, labels, asked).tolist() == ["a", "a", "a"]
    types = np.array(["x", "x", "x", "y", "y"], dtype=object)
    assert word_majority(types, labels, asked).tolist() == ["b", "a", "a"]


def make_portions(tmp_path, vectors, labels, words):
    """Sentences of 10 words of a recording, divided into three parts."""
    sentences = [words[start : start + 10] for start in range(0, len(words), 10)]
    layers = {"encoder": [vectors], "decoder": [vectors]}
    recording = write_activations(tmp_path / "recording", sentences, layers)
    task = Task(
        "t", ("encoder",), np.arange(len(words))[:, None], np.arange(len(words)) // 10,
        np.array(labels, dtype=object if isinstance(labels[0], str) else float),
        np.array(words, dtype=object),
    )  # fmt: skip
    parts = split_sentences(range(len(sentences)), len(sentences), (0.6, 0.2, 0.2), 1)
    return Portions(*(Portion(recording, task.of(part)) for part in parts.values()))


def statistics_of(rows, statistic):
    return [row["value"] for row in rows if row["statistic"] == statistic]


QUICK = {
    "adam": ProbeSettings(seeds=(1, 2), schedule=Schedule(0.02, epochs=15)),
    "exact": ProbeSettings(seeds=(1, 2), solver="exact"),
}


@pytest.mark.parametrize("solver", ["adam", "exact"])
def test_random_vectors_have_no_selectivity(tmp_path, solver):
    """Neither labels nor control labels can be read from them."""
    chance = np.random.default_rng(0)
    words = [f"w{n}" for n in chance.integers(0, 2000, 3000)]
    labels = [str(n) for n in chance.integers(0, 2, 3000)]
    portions = make_portions(tmp_path, chance.normal(size=(3000, 16)), labels, words)
    rows = list(probe(portions, QUICK[solver]))
    assert fmean(statistics_of(rows, "accuracy")) == pytest.approx(0.5, abs=0.06)
    assert fmean(statistics_of(rows, "selectivity")) == pytest.approx(0, abs=0.08)


@pytest.mark.parametrize("solver", ["adam", "exact"])
def test_vectors_of_the_label_are_selective_and_vectors_of_the_word_are_not(tmp_path, solver):
    chance = np.random.default_rng(0)
    types = chance.integers(0, 40, 4000)
    words = [f"w{n}" for n in types]
    labels = chance.integers(0, 4, 4000)
    of_label = np.eye(4)[labels] * 4 + 0.3 * chance.normal(size=(4000, 4))
    rows = list(probe(
        make_portions(tmp_path, of_label, [str(n) for n in labels], words), QUICK[solver]
    ))  # fmt: skip
    assert min(statistics_of(rows, "accuracy")) > 0.99
    assert min(statistics_of(rows, "selectivity")) > 0.5
    (tmp_path / "second").mkdir()
    of_word = np.eye(40)[types] * 4
    rows = list(probe(
        make_portions(tmp_path / "second", of_word, [str(n % 4) for n in types], words),
        QUICK[solver],
    ))  # fmt: skip
    assert min(statistics_of(rows, "control")) > 0.99
    assert max(np.abs(statistics_of(rows, "selectivity"))) < 0.01
    assert statistics_of(rows, "word-majority") == [1.0]


def test_rows_and_equal_seeds(tmp_path):
    chance = np.random.default_rng(0)
    labels = chance.choice(["a", "b", "b"], 600).tolist()
    portions = make_portions(tmp_path, chance.normal(size=(600, 4)), labels, labels)
    rows = list(probe(portions, ProbeSettings((5, 7), schedule=Schedule(epochs=5))))
    assert rows == list(probe(portions, ProbeSettings((5, 7), schedule=Schedule(epochs=5))))
    assert [(row["statistic"], row.get("seed")) for row in rows] == [
        ("majority", None), ("word-majority", None),
        *(
            (name, seed)
            for seed in (5, 7)
            for name in ("accuracy", "control", "selectivity", "epochs", "f1", "f1")
        ),
    ]  # fmt: skip
    alone = list(probe(portions, ProbeSettings((7,), schedule=Schedule(epochs=5))))
    assert alone[2:] == rows[8:]
    assert [row["label"] for row in alone[6:]] == ["a", "b"]
    bare = list(probe(portions, ProbeSettings((7,), schedule=Schedule(epochs=5), control=False)))
    assert bare == [*alone[:3], *alone[5:]]


def test_spans_are_scored_by_spans_and_their_control_by_words(tmp_path):
    chance = np.random.default_rng(0)
    labels = (["B-X", "I-X", "O", "O", "O"] * 200)[:1000]
    vectors = np.array([[label == name for name in ("B-X", "I-X", "O")] for label in labels]) * 5.0
    words = [f"w{n}" for n in chance.integers(0, 30, 1000)]
    rows = list(probe(make_portions(tmp_path, vectors, labels, words), ProbeSettings(seeds=(1,))))
    assert statistics_of(rows, "span-f1") == statistics_of(rows, "token-accuracy") == [1.0]
    assert statistics_of(rows, "selectivity") == [1 - statistics_of(rows, "control")[0]]
    assert statistics_of(rows, "majority") == [0.0]


def test_scores_are_predicted_by_ridge_regression(tmp_path):
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(1000, 5))
    numbers = (vectors @ np.arange(5) + chance.normal(size=1000)).tolist()
    words = [f"w{n}" for n in chance.integers(0, 30, 1000)]
    portions = make_portions(tmp_path, vectors, numbers, words)
    rows = list(probe(portions, ProbeSettings(seeds=(1, 2))))
    expected = (30 / 31) ** 0.5  # variance of the signal: 0 + 1 + 4 + 9 + 16
    assert statistics_of(rows, "pearson") == pytest.approx([expected] * 2, abs=0.02)
    assert statistics_of(rows, "selectivity") == pytest.approx([expected] * 2, abs=0.25)
    assert not statistics_of(rows, "majority")


def test_score_of_predictions():
    labels = np.array(["B-X", "I-X", "O", "B-X"], dtype=object)
    task = Task("t", ("encoder",), np.arange(4)[:, None], np.array([0, 0, 1, 1]), labels, labels)
    wrong = np.array(["B-X", "O", "O", "B-X"], dtype=object)
    assert (score(task, wrong), score(task, wrong, "accuracy")) == (0.5, 0.75)
    assert score(task, labels) == 1.0


def test_equal_labels_are_refused(tmp_path):
    with pytest.raises(LotteryError, match="t has only the label 'a' in the training sentences"):
        make_portions(tmp_path, np.zeros((100, 2)), ["a"] * 100, ["w"] * 100)
