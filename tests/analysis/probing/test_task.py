"""From labels and recordings to the examples of tasks."""

import numpy as np
import pytest
from analysis.written_recordings import write_activations

from fairseq_lottery.analysis.labels.label_file import read_labels
from fairseq_lottery.analysis.probing.split import split_sentences
from fairseq_lottery.analysis.probing.task import BOTH, make_tasks, negatives
from fairseq_lottery.errors import LotteryError

SOURCE = [["zum", "Arzt,", "oder?"], ["Nein!"], ["Er", "lacht."]]
TARGET = [["a", "b"], ["c"], ["d", "e", "f"]]
CONLLU = """\
1-2	zum	_	_	_	_	_	_	_	_
1	zu	_	ADP	_	_	3	case	_	_
2	dem	_	DET	_	_	3	det	_	_
3	Arzt	_	NOUN	_	_	0	root	_	SpaceAfter=No
4	,	_	PUNCT	_	_	5	punct	_	_
5	oder	_	CCONJ	_	_	3	conj	_	SpaceAfter=No
6	?	_	PUNCT	_	_	3	punct	_	_

1	Nein	_	INTJ	_	_	0	root	_	SpaceAfter=No
2	!	_	PUNCT	_	_	1	punct	_	_

1	Er	_	PRON	_	_	2	nsubj	_	_
2	lacht	_	VERB	_	_	0	root	_	SpaceAfter=No
3	.	_	PUNCT	_	_	2	punct	_	_
"""


@pytest.fixture
def recording(tmp_path):
    source = np.arange(12.0).reshape(6, 2)
    target = 100 + np.arange(12.0).reshape(6, 2)
    layers = {"encoder": [source, -source], "decoder": [target, -target]}
    return write_activations(tmp_path / "rec", SOURCE, layers, TARGET, sentences=[0, 2, 3], of=4)


def labels_in(tmp_path, text, *arguments):
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8")
    return read_labels(path, *arguments)


def named(file, *names):
    return dict(zip(file.tasks, names or file.tasks))


def test_words_arcs_and_relations(tmp_path, recording):
    file = labels_in(tmp_path, CONLLU)
    upos, arc, relation = make_tasks(recording, ("source",), file, named(file))
    assert upos.labels.tolist() == ["ADP", "NOUN", "CCONJ", "INTJ", "PRON", "VERB"]
    assert upos.types.tolist() == ["zum", "Arzt,", "oder?", "Nein!", "Er", "lacht."]
    assert upos.sentences.tolist() == [0, 0, 0, 2, 3, 3]
    assert upos.vectors(recording, 2).tolist() == (-np.arange(12.0).reshape(6, 2)).tolist()
    assert relation.rows.tolist() == [[0, 1], [2, 1], [4, 5]]
    assert relation.labels.tolist() == ["case", "conj", "nsubj"]
    assert relation.vectors(recording, 1)[0].tolist() == [0, 1, 2, 3, 0 * 2, 1 * 3]
    # each arc with a negative, but for Er lacht, which has no third word
    assert arc.labels.tolist() == ["arc", "arc", "none", "none", "arc"]
    assert arc.rows.tolist() == [[0, 1], [2, 1], [0, 2], [2, 0], [4, 5]]
    assert arc.of(np.array([3])).rows.tolist() == [[4, 5]]


def test_pairs_of_both_sides(tmp_path, recording):
    file = labels_in(tmp_path, "0-0 1-0 2-1\n0-0\n0-0 1-2\n", (), "alignment")
    (task,) = make_tasks(recording, BOTH, file, named(file))
    assert (task.part, task.parts) == ("decoder", ("encoder", "decoder"))
    assert task.labels.tolist().count("arc") == 6 and task.labels.tolist().count("none") == 5
    assert task.rows[:3].tolist() == [[0, 0], [1, 0], [2, 1]]
    # the encoder's last layer, with each layer of the decoder
    assert task.vectors(recording, 1)[1].tolist() == [-2, -3, 100, 101, -200, -303]


def test_negatives_are_other_words():
    pairs = [(0, 2, "x"), (0, 3, "y"), (4, 0, "z")]
    drawn = {negative for key in range(200) for negative in negatives(pairs, 5, True, str(key))}
    assert drawn == {(0, j, "none") for j in (1, 4)} | {(4, j, "none") for j in (1, 2, 3)}
    both = {negative for key in range(200) for negative in negatives(pairs, 5, False, str(key))}
    assert both == {(0, j, "none") for j in (0, 1, 4)} | {(4, j, "none") for j in (1, 2, 3, 4)}
    assert list(negatives(pairs, 5, True, "k")) == list(negatives(pairs, 5, True, "k"))


def test_subsets_draw_their_negatives_apart(tmp_path):
    """Sentences of the same number in train, dev and test share no random numbers."""
    words = [[f"w{n}" for n in range(12)]] * 6
    vectors = {part: [np.zeros((72, 2))] for part in ("encoder", "decoder")}
    file = labels_in(tmp_path, "0\t1\tx\n5\t6\tx\n\n" * 6)
    drawn = []
    for name, subset in (("a", "train"), ("b", "valid"), ("c", "train")):
        recording = write_activations(tmp_path / name, words, vectors, subset=subset)
        tasks = make_tasks(recording, ("source",), file, named(file))
        arc = next(one for one in tasks if "none" in one.labels.tolist())
        drawn.append(arc.rows[arc.labels == "none"].tolist())
    assert drawn[0] == drawn[2] != drawn[1]


def test_all_sentences_of_the_subset_or_the_recorded_ones(tmp_path, recording):
    text = "zum\t1\nArzt,\t2\noder?\t3\n\n{}Nein!\t4\n\nEr\t5\nlacht.\t6\n"
    for more in ("", "unrecorded\t0\n\n"):
        file = labels_in(tmp_path, text.format(more))
        (task,) = make_tasks(recording, ("source",), file, named(file, "n"), scores=["n"])
        assert task.labels.tolist() == [1, 2, 3, 4, 5, 6]
        assert task.score == "pearson"


def test_bad_pairs_and_scores(tmp_path, recording):
    file = labels_in(tmp_path, "0\t5\tx\n\n\n\n")
    with pytest.raises(LotteryError, match="pair 0 5 for sentence 1 of valid, .* 3 source and 3"):
        make_tasks(recording, ("source",), file, named(file))
    file = labels_in(tmp_path, CONLLU, ["upos"])
    with pytest.raises(LotteryError, match="'ADP', which is not a number, in upos"):
        make_tasks(recording, ("source",), file, named(file), scores=["upos"])
    layers = {"encoder": [np.full((6, 2), np.inf)], "decoder": [np.ones((6, 3))]}
    broken = write_activations(tmp_path / "b", SOURCE, layers, TARGET)
    (task,) = make_tasks(broken, ("source",), file, named(file))
    with pytest.raises(LotteryError, match="layer 1 of the encoder"):
        task.vectors(broken, 1)
    links = labels_in(tmp_path, "0-0\n0-0\n0-0\n", (), "alignment")
    (task,) = make_tasks(broken, BOTH, links, named(links))
    with pytest.raises(LotteryError, match="different widths"):
        task.vectors(broken, 1)


def test_division_of_sentences():
    numbers = list(range(0, 400, 2))
    parts = split_sentences(numbers, 400, (0.8, 0.1, 0.1), 1)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 160, "dev": 20, "test": 20,
    }  # fmt: skip
    assert sorted(np.concatenate(list(parts.values())).tolist()) == numbers
    again = split_sentences(numbers[::-1], 400, (0.8, 0.1, 0.1), 1)
    assert all(set(parts[name]) == set(again[name]) for name in parts)
    other = split_sentences(numbers, 400, (0.8, 0.1, 0.1), 2)
    assert set(other["test"]) != set(parts["test"])
    for shares in ((0.8, 0.2), (0.8, 0.1, 0.2), (1, 0, 0)):
        with pytest.raises(LotteryError, match="--shares"):
            split_sentences(numbers, 400, shares, 1)
    with pytest.raises(LotteryError, match="3 sentences are too few"):
        split_sentences([0, 1, 2], 3, (0.8, 0.1, 0.1), 1)
    with pytest.raises(LotteryError, match="1000000000000000 sentences is too large"):
        split_sentences(range(10), 10**15, (0.8, 0.1, 0.1), 1)
