"""Fit linear probes to convergence with scikit-learn; the penalty is chosen on the dev part."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fairseq_lottery.analysis.arrays import Array

#: inverse penalties of logistic regression, and penalties of ridge regression
INVERSE_PENALTIES = tuple(10.0**power for power in range(-4, 2))
PENALTIES = tuple(10.0**power for power in range(-2, 6))
#: most iterations of logistic regression
_ITERATIONS = 500


def fit_logistic(
    vectors: Array,
    targets: Array,
    dev_vectors: Array,
    dev_score: Callable[[Array], float],
) -> Callable[[Array], Array]:
    """Fit multinomial logistic regression (L-BFGS), and return its prediction function.

    Args:
        vectors: (examples, width).
        targets: classes, (examples,). If all are equal, as control labels of few words can be, the
            function predicts this class.
        dev_vectors: (examples of the development part, width).
        dev_score: returns the score for the predicted classes of the development part. The penalty
            with the highest score is chosen, of several the largest penalty.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if (targets == targets[0]).all():
        return lambda asked: np.full(len(asked), targets[0])
    best, chosen = -np.inf, None
    for inverse in INVERSE_PENALTIES:
        model: Any = LogisticRegression(C=inverse, max_iter=_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(vectors, targets)
        score = dev_score(model.predict(dev_vectors))
        if score > best:
            best, chosen = score, model
    assert chosen is not None
    predict: Callable[[Array], Array] = chosen.predict
    return predict


def fit_ridge(
    vectors: Array, scores: Array, dev_vectors: Array, dev_scores: Array
) -> Callable[[Array], Array]:
    """Fit ridge regression, and return its prediction function; arguments as ``fit_logistic``.

    The penalty with the highest Pearson correlation on the development part is chosen.
    """
    from sklearn.linear_model import Ridge

    best, chosen = -np.inf, None
    for penalty in reversed(PENALTIES):
        model: Any = Ridge(alpha=penalty).fit(np.asarray(vectors, dtype=np.float64), scores)
        score = pearson(dev_scores, model.predict(dev_vectors))
        if score > best:
            best, chosen = score, model
    assert chosen is not None
    predict: Callable[[Array], Array] = chosen.predict
    return predict


def pearson(first: Array, second: Array) -> float:
    """Return Pearson's correlation; 0 if one is constant, as it then predicts nothing."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / scale) if scale > 0 else 0.0
