"""Scores of predictions, against counts by hand, scikit-learn's and scipy's numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small import PROPERTY

pytest.importorskip("sklearn")
pytest.importorskip("fairseq")

from scipy import stats
from sklearn import metrics

from fairseq_lottery.inference.scores.predictions import Predictions, captured_output, join, predict


def classes(predicted, true, positive=None):
    return Predictions(np.array(predicted), np.array(true), False, positive)


def numbers(predicted, true):
    return Predictions(np.array(predicted), np.array(true), True)


def test_scores_of_two_classes_counted_by_hand():
    """3 right and 1 missed of class 1, 2 right and 1 wrong of class 0."""
    found = classes([1, 1, 1, 0, 0, 0, 1], [1, 1, 1, 1, 0, 0, 0], positive=1).scores()
    assert found["accuracy"] == pytest.approx(100 * 5 / 7)
    assert found["f1"] == pytest.approx(100 * 6 / 8)
    assert found["f1_macro"] == pytest.approx(100 * (6 / 8 + 4 / 6) / 2)
    assert found["mcc"] == pytest.approx(100 * (3 * 2 - 1 * 1) / math.sqrt(4 * 4 * 3 * 3))


def test_f1_is_of_the_positive_class_wherever_it_is_numbered():
    predicted, true = [1, 1, 0, 0, 0, 1], [1, 0, 0, 0, 1, 1]
    other = [1 - n for n in predicted], [1 - n for n in true]
    assert classes(predicted, true, 1).scores() == classes(*other, 0).scores()
    assert classes(predicted, true, 0).scores()["f1"] == classes(*other, 1).scores()["f1"]


def test_scores_of_three_classes_have_no_f1_of_one():
    found = classes([0, 1, 2, 2], [0, 1, 1, 2])
    assert found.metrics == ("accuracy", "f1_macro", "mcc") == tuple(found.scores())
    assert found.scores()["f1_macro"] == pytest.approx(100 * (1 + 2 / 3 + 2 / 3) / 3)


labels = arrays.arrays(np.int32, st.integers(1, 40), elements=st.integers(0, 2))


@PROPERTY
@given(labels, st.randoms(use_true_random=False))
def test_classes_are_scored_as_by_scikit_learn(true, draw):
    predicted = np.array([draw.randrange(3) for _ in true], dtype=np.int32)
    found = Predictions(predicted, true, False, None).scores()
    assert found["accuracy"] == 100 * metrics.accuracy_score(true, predicted)
    assert found["f1_macro"] == 100 * metrics.f1_score(
        true, predicted, average="macro", zero_division=0
    )
    both = np.unique(np.concatenate([true, predicted]))
    if len(both) > 1:
        assert found["mcc"] == 100 * metrics.matthews_corrcoef(true, predicted)
    two = Predictions(predicted // 2, true // 2, False, 1).scores()
    assert two["f1"] == pytest.approx(
        100 * metrics.f1_score(true // 2, predicted // 2, zero_division=0)
    )


def test_a_single_class_has_the_scores_of_scikit_learn(recwarn):
    assert classes([1, 1, 1], [1, 0, 1], 1).scores()["mcc"] == 0
    found = classes([0, 0, 0], [0, 0, 0], 1).scores()
    assert found == {"accuracy": 100, "f1": 0, "f1_macro": 100, "mcc": 0}
    assert not recwarn.list


def test_correlations_counted_by_hand():
    found = numbers([1.0, 2.0, 3.0, 5.0], [2.0, 1.0, 4.0, 3.0]).scores()
    # ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15)
    assert found["spearman"] == pytest.approx(60)
    # centred: -1.75 -.75 .25 2.25 and -.5 -1.5 1.5 .5
    product = 1.75 * 0.5 + 0.75 * 1.5 + 0.25 * 1.5 + 2.25 * 0.5
    squares = (1.75**2 + 0.75**2 + 0.25**2 + 2.25**2) * (0.25 + 2.25 + 2.25 + 0.25)
    assert found["pearson"] == pytest.approx(100 * product / math.sqrt(squares))


def test_correlations_are_those_of_scipy_and_numpy():
    generator = np.random.default_rng(1)
    true = generator.normal(size=50).round(1)
    predicted = (true + generator.normal(size=50)).astype(np.float32)
    found = Predictions(predicted, true.astype(np.float32), True).scores()
    exact = predicted.astype(np.float64), true.astype(np.float32).astype(np.float64)
    assert found["pearson"] == pytest.approx(100 * np.corrcoef(*exact)[0, 1])
    ranks = [stats.rankdata(values) for values in exact]
    assert found["spearman"] == pytest.approx(100 * np.corrcoef(*ranks)[0, 1])


@pytest.mark.parametrize(
    ("predicted", "true"),
    [([2.0, 2.0, 2.0], [1.0, 2.0, 3.0]), ([1.0, 2.0], [3.0, 3.0]), ([1.0], [2.0])],
)
def test_correlations_of_constants_are_undefined(predicted, true, recwarn):
    assert numbers(predicted, true).scores() == {"pearson": None, "spearman": None}
    assert not recwarn.list


def test_batches_are_joined_in_their_order():
    logits = [torch.tensor([[0.1, 0.9], [2.0, -1.0]]), torch.tensor([[0.0, 1.0]])]
    true = [torch.tensor([[1], [1]]), torch.tensor([[0]])]
    batches = [predict((x, None), {"target": y}, False, 1) for x, y in zip(logits, true)]
    joined = join(batches)
    assert joined.predicted.tolist() == [1, 0, 1] and joined.true.tolist() == [1, 1, 0]
    assert joined.positive == 1 and joined.metrics == ("accuracy", "f1", "f1_macro", "mcc")
    rated = predict((torch.tensor([[0.5], [1.5]]), None), {"target": true[0].float()}, True, None)
    assert rated.predicted.tolist() == [0.5, 1.5] and rated.metrics == ("pearson", "spearman")


def test_the_output_of_a_model_is_captured_only_inside():
    model = torch.nn.Linear(2, 2)
    with captured_output(model) as outputs:
        expected = model(torch.ones(2))
    model(torch.zeros(2))
    assert len(outputs) == 1 and outputs[0] is expected
