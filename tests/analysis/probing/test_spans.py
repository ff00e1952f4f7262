import pytest

from fairseq_lottery.analysis.probing.spans import are_span_labels, span_f1, spans


@pytest.mark.parametrize(
    "labels, expected",
    [
        ("B-A I-A O B-A", {(0, 1, "A"), (3, 3, "A")}),
        ("B-A B-A I-B", {(0, 0, "A"), (1, 1, "A"), (2, 2, "B")}),
        ("I-A I-A B-A I-A O", {(0, 1, "A"), (2, 3, "A")}),  # IOB1
        ("O I-A I-B", {(1, 1, "A"), (2, 2, "B")}),
        ("S-A B-A I-A E-A I-A", {(0, 0, "A"), (1, 3, "A"), (4, 4, "A")}),  # BIOES
        ("O O", set()),
    ],
)
def test_spans(labels, expected):
    assert spans(labels.split()) == expected


def test_f1_worked_by_hand():
    gold = ["B-A I-A O B-B".split(), "O B-A".split()]
    guess = ["B-A I-A O B-A".split(), "B-A B-A".split()]
    # 3 spans, 4 predicted, 2 correct: precision 2/4, recall 2/3
    assert span_f1(gold, guess) == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))
    assert span_f1(gold, gold) == 1
    assert span_f1([["O"]], [["O"]]) == 0


def test_labels_of_spans():
    assert are_span_labels(["O", "B-NP", "I-NP"])
    assert not are_span_labels(["O"])
    assert not are_span_labels(["B-NP", "NOUN"])
