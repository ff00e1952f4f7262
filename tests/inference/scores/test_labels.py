"""Labels of sentences: their classes, and what does not match a model."""

from types import SimpleNamespace

import pytest

pytest.importorskip("fairseq")

from fairseq.data import Dictionary

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.inference.scores.labels import (
    class_names,
    positive_class,
    refuse_more_classes,
    refuse_other_classes,
    refuse_unlabelled,
)


def task(labels, regression=False):
    """A task with labels as fairseq-preprocess pads them."""
    dictionary = Dictionary()
    for label in labels:
        dictionary.add_symbol(label)
    dictionary.pad_to_multiple_(8)
    dictionary.add_symbol("<mask>")
    cfg = SimpleNamespace(regression_target=regression)
    return SimpleNamespace(label_dictionary=dictionary, cfg=cfg)


def test_classes_are_the_labels_without_padding():
    assert class_names(task(["b", "a", "c"])) == ("b", "a", "c")
    assert class_names(task(["1", "0"])) == ("1", "0")
    assert class_names(task([], regression=True)) == () == class_names(SimpleNamespace())


@pytest.mark.parametrize(
    ("names", "classes", "expected"),
    [
        (("0", "1"), 2, 1),
        (("1", "0"), 2, 0),
        (("a", "b"), 2, None),
        (("0", "1", "2"), 3, None),
        (("1",), 2, 0),
        ((), 1, None),
    ],
)
def test_the_positive_class_is_called_1(names, classes, expected):
    assert positive_class(names, classes) == expected


def test_labels_that_do_not_match_are_refused(tmp_path):
    with pytest.raises(LotteryError, match="--num-classes is missing"):
        refuse_unlabelled(str(tmp_path), -1, False)
    with pytest.raises(LotteryError, match="has no label/dict.txt; run fairseq-preprocess on the"):
        refuse_unlabelled(str(tmp_path), 2, False)
    refuse_unlabelled(str(tmp_path), 1, True)
    refuse_more_classes(("a",), 2, "bin")
    with pytest.raises(LotteryError, match="in bin have 3 classes .a, b, c., but the head has 2"):
        refuse_more_classes(("a", "b", "c"), 2, "bin")
    refuse_other_classes(("a", "b"), ["a", "b"], "bin", "m.pt")
    refuse_other_classes(("a", "b"), None, "bin", "m.pt")
    with pytest.raises(LotteryError, match="in bin are b, a, expected a, b as in m.pt; run"):
        refuse_other_classes(("b", "a"), ["a", "b"], "bin", "m.pt")
