"""What the adapter of sentence_prediction says: its data folder, its head, its metrics."""

import pytest
import torch
from small import save_checkpoint, weights

from fairseq_lottery.adapters import MASKED_LM, SENTENCE_PREDICTION, TaskAdapter, Vocabulary
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, mask_to_state, read_dictionaries, read_source
from fairseq_lottery.masks import Mask

HEAD = "classification_heads.sentence_classification_head."
TEXT = Dictionaries({"source": ("a", "<mask>")})


def adapter(**fields):
    return TaskAdapter(
        "own", {"x": Vocabulary(("x",), "x.embed_tokens.weight")}, {}, lambda *_: {}, **fields
    )


def test_the_head_is_named_and_left_out():
    named = {f"{HEAD}dense.weight": 1, "encoder.lm_head.dense.weight": 2, "x.weight": 3}
    assert SENTENCE_PREDICTION.without_head(named) == {
        "encoder.lm_head.dense.weight": 2,
        "x.weight": 3,
    }
    assert SENTENCE_PREDICTION.is_head(f"{HEAD}out_proj.bias")
    assert MASKED_LM.without_head(named) == named


def test_each_metric_has_its_direction():
    assert SENTENCE_PREDICTION.metrics["mcc"] and not SENTENCE_PREDICTION.metrics["loss"]
    assert MASKED_LM.metrics == {"loss": False} == adapter().metrics


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head": "("}, r"the head of task own is '\(', expected a regular expression"),
        ({"head": None}, "the head of task own is None, expected a regular expression"),
        ({"head": "weight$"}, "the head of task own contains x.embed_tokens.weight, the embedding"),
        ({"metrics": {}}, "task own has no metric"),
        ({"metrics": {"bleu": "max"}}, "metric 'bleu' of task own is 'max', expected a name"),
        ({"metrics": {"": True}}, "metric '' of task own is True, expected a name"),
    ],
)
def test_a_malformed_head_or_metric_is_refused(fields, message):
    with pytest.raises(LotteryError, match=message):
        adapter(**fields)


def test_the_dictionary_is_that_of_the_first_sentences(tmp_path):
    with pytest.raises(LotteryError, match="has no input0/dict.txt"):
        SENTENCE_PREDICTION.find_folder({"data": str(tmp_path)})
    (tmp_path / "input0").mkdir()
    (tmp_path / "input0/dict.txt").write_text("a 3\n")
    assert read_dictionaries(SENTENCE_PREDICTION.find_folder({"data": str(tmp_path)})) == TEXT


@pytest.fixture
def classifier(tmp_path):
    """A checkpoint with a head, and a mask that prunes in it, as a user's own task wrote it."""
    head = {f"{HEAD}dense.weight": torch.eye(4), f"{HEAD}out_proj.bias": torch.ones(2)}
    parameters = {**weights(3), **head}
    mask = Mask.full({"encoder.layers.0.fc1.weight": (6, 4)})
    both = Mask({**mask, f"{HEAD}dense.weight": torch.eye(4) > 0})
    lottery = {
        "mask": mask_to_state(both),
        "dictionaries": TEXT.to_tensors(),
        "task": "sentence_prediction",
    }
    state = {"lottery": lottery}
    return save_checkpoint(tmp_path / "c.pt", parameters, task_state=state), mask


def test_a_file_is_read_without_the_head(classifier):
    path, mask = classifier
    source = read_source(path)
    assert not any(map(SENTENCE_PREDICTION.is_head, source.weights)) and source.mask == mask
    assert source.shapes.keys() == weights(3).keys()
    assert f"{HEAD}dense.weight" in source.state["model"]
