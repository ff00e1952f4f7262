"""What holds for all inputs: spans of BIO labels, files that are read back, rotated vectors."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as some
from small import PROPERTY

from fairseq_lottery.analysis.labels.label_file import read_labels
from fairseq_lottery.analysis.probing.exact_probe import fit_logistic, fit_ridge
from fairseq_lottery.analysis.probing.spans import span_f1, spans

FEW = settings(PROPERTY, max_examples=30)
#: number of words outside, type and length of a span, again and again
SPANS = some.lists(some.tuples(some.integers(0, 3), some.sampled_from("AB"), some.integers(1, 4)))
WORDS = some.text(some.characters(exclude_categories=("Z", "C")), min_size=1, max_size=5)


@FEW
@given(SPANS)
def test_spans_are_those_that_the_labels_were_made_of(pieces):
    labels, expected = [], set()
    for outside, kind, length in pieces:
        labels += ["O"] * outside
        expected.add((len(labels), len(labels) + length - 1, kind))
        labels += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
    assert spans(labels) == expected
    assert span_f1([labels], [labels]) == bool(expected)


@FEW
@given(some.lists(some.lists(some.tuples(WORDS, WORDS), min_size=1), min_size=1, max_size=5))
def test_columns_are_read_back(sentences):
    text = "\n".join("".join(f"{word}\t{label}\n" for word, label in s) for s in sentences)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels"
        path.write_text(f"-DOCSTART-\t-X-\n\nx\tY\n\n{text}", encoding="utf-8")
        file = read_labels(path, format="columns")
    divided = [one.divide(one.divisions[0]) for one in file.sentences[1:]]
    found = [tuple(zip(one.words, one.values["last"])) for one in divided]
    assert found == [
        tuple((word, None if label == "_" else label) for word, label in one) for one in sentences
    ]


@settings(PROPERTY, max_examples=5)
@given(some.integers(0, 2**32 - 1))
def test_exact_probes_do_not_depend_on_the_axes(seed):
    chance = np.random.default_rng(seed)
    rotation = np.linalg.qr(chance.normal(size=(5, 5)))[0]
    train, dev = chance.normal(size=(120, 5)), chance.normal(size=(40, 5))
    labels = (train[:, 0] + chance.normal(size=120) > 0).astype(int)
    same = [
        fit_logistic(turn(train), labels, turn(dev), lambda p: float(p.mean()))(turn(dev))
        for turn in (lambda rows: rows, lambda rows: rows @ rotation)
    ]
    assert (same[0] == same[1]).mean() > 0.95
    scores, dev_scores = train.sum(1) + chance.normal(size=120), dev.sum(1)
    ridge = [
        fit_ridge(turn(train), scores, turn(dev), dev_scores)(turn(dev))
        for turn in (lambda rows: rows, lambda rows: rows @ rotation)
    ]
    np.testing.assert_allclose(ridge[0], ridge[1], atol=1e-8)
