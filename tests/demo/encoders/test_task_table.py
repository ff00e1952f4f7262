import hashlib
import random
from collections import Counter
from functools import cache

import pytest

from fairseq_lottery.demo.encoders.task_table import TASKS, draw_parts
from fairseq_lottery.demo.encoders.word_classes import WORDS, held_out_words

SIZES = {"test": 121, "valid": 100, "train": 600}
#: highest accuracy (or correlation) of a linear model of words and pairs of words, in percent
CUES = {
    "acceptability": 60, "agreement": 68, "tense": 60, "pos": 20, "role": 72, "paraphrase": 60,
    "entailment": 48, "similarity": 20,
}  # fmt: skip


@cache
def parts(name, seed=1):
    return draw_parts(name, seed, SIZES)


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


def test_kinds_of_tasks():
    kinds = {task.kind for task in TASKS.values()}
    assert kinds == {"sentence", "marked word", "pair", "score"} and len(TASKS) == 8
    assert {task.metric for task in TASKS.values()} == {"mcc", "accuracy", "f1", "pearson"}
    assert {name for name, task in TASKS.items() if not task.labels} == {"similarity"}


def test_classes_are_balanced(name):
    for part, examples in parts(name).items():
        assert len(examples) == SIZES[part]
        counts = Counter(example.label for example in examples)
        if TASKS[name].labels:
            assert set(counts) == set(TASKS[name].labels)
            assert max(counts.values()) - min(counts.values()) <= 1
        else:
            scores = [float(example.label) for example in examples]
            assert min(scores) == 0 and max(scores) == 5
            assert 2 < sum(scores) / len(scores) < 3


def test_no_example_occurs_twice(name):
    texts = [example.texts for examples in parts(name).values() for example in examples]
    assert len(set(texts)) == len(texts) == sum(SIZES.values())


def test_labels_have_no_order(name):
    """The drawn order of the labels would tell them by the number of the example."""
    first = [example.label for example in parts(name)["train"][:200]]
    labels = TASKS[name].labels
    assert first != [labels[n % len(labels)] for n in range(200)] if labels else True


def digest(drawn):
    return hashlib.sha256(repr(sorted(drawn.items())).encode()).hexdigest()


def test_only_the_seed_decides(name):
    random.seed(7)
    state = random.getstate()
    small = {"test": 20, "train": 30}
    drawn = draw_parts(name, 5, small)
    assert random.getstate() == state
    assert digest(draw_parts(name, 5, small)) == digest(drawn) != digest(draw_parts(name, 6, small))


def test_more_training_examples_change_no_other_part(name):
    few, more = (draw_parts(name, 2, {"test": 20, "train": size}) for size in (10, 30))
    assert few["test"] == more["test"]


def test_every_task_has_a_stream_of_its_own():
    """Tasks that draw their sentences alike draw other sentences."""
    first = {name: draw_parts(name, 1, {"test": 60})["test"] for name in ("tense", "agreement")}
    texts = [set(example.texts[0] for example in drawn) for drawn in first.values()]
    assert not texts[0] & texts[1]


def test_training_marks_other_words():
    held_out = held_out_words(1)
    for part, examples in parts("pos").items():
        for (text,), label in examples:
            words = [word.rstrip(".,") for word in text.split()]
            word = words[words.index("*") + 1]
            forms = {form for forms in WORDS[label] for form in forms}
            word = word if word in forms else word[0].lower() + word[1:]
            assert word in forms
            assert (word in held_out) is (part != "train"), (part, text)


def test_half_of_the_words_of_each_class_are_held_out():
    held_out = held_out_words(1)
    for words in WORDS.values():
        kept = [forms for forms in words if not set(forms) & held_out]
        assert len(words) - len(kept) == len(words) // 2
        for forms in words:
            assert set(forms) <= held_out or not set(forms) & held_out
    forms = [form for words in WORDS.values() for forms in words for form in set(forms)]
    assert len(set(forms)) == len(forms), "a form has one part of speech"


def test_no_trivial_cue(name):
    """Counts of words of each sentence are far from the labels."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    from scipy.sparse import hstack
    from scipy.stats import pearsonr
    from sklearn.feature_extraction.text import CountVectorizer

    drawn = draw_parts(name, 1, {"test": 300, "train": 1000})
    columns = len(drawn["train"][0].texts)
    counts = {}
    for part in ("train", "test"):
        blocks = []
        for column in range(columns):
            texts = {one: [example.texts[column] for example in drawn[one]] for one in drawn}
            vectors = CountVectorizer(token_pattern=r"[^\s.,]+").fit(texts["train"])
            blocks.append(vectors.transform(texts[part]))
        counts[part] = hstack(blocks).tocsr()
    labels = {part: [example.label for example in drawn[part]] for part in drawn}
    if TASKS[name].labels:
        model = linear_model.LogisticRegression(max_iter=2000).fit(counts["train"], labels["train"])
        score = 100 * model.score(counts["test"], labels["test"])
    else:
        scores = {part: list(map(float, labels[part])) for part in labels}
        model = linear_model.Ridge(10.0).fit(counts["train"], scores["train"])
        score = 100 * pearsonr(model.predict(counts["test"]), scores["test"])[0]
    assert score < CUES[name]
