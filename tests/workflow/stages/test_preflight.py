import re

import pytest
from toy import MODEL, PARAMETERS

from fairseq_lottery.workflow.stages.preflight import answer

pytestmark = pytest.mark.slow

FLAGS = ("-s en -t de --optimizer masked_adam --lr 1e-3 --lr-scheduler inverse_sqrt"
         " --max-tokens 500 --max-update 10").split()  # fmt: skip


MASK = ("scope", "prunable", "keep_dense", "sparsity")


@pytest.fixture
def ask(toy_data, monkeypatch):
    """What the environment says of the toy model, asked with more flags and of these choices."""
    pytest.importorskip("fairseq")
    monkeypatch.chdir(toy_data.parent)

    def asking(*flags, masks=(), choices=(), references=None, generate=(),
               scores=("magnitude",), at_once=(), analysis=None):  # fmt: skip
        fixed = [str(toy_data), "--task", "translation_lottery"]
        translates = [*fixed, "--path", "model.pt", "-s", "en", "-t", "de", *generate]
        return answer({
            "task": "translation",
            "words": {"train": [*fixed, *MODEL, *FLAGS, *flags], "generate": translates},
            "weights": [], "adopt": [], "scores": scores, "scheduled": scores,
            "at_once": at_once,
            "masks": [{"sparsity": 0.5, **dict(zip(MASK, mask))} for mask in masks],
            "component_choices": list(choices), "analysis": analysis, "pretrained": None,
            "tests": [{"subset": "test", "pair": None, "references": str(references),
                       "where": ["references"]}] if references else [],
        })  # fmt: skip

    return asking


def test_a_model_that_can_be_built_is_counted(ask):
    masks = [("2:4", "all-matrices", None), ("layer", "ffn", "fc2"), ("global", "attention", None)]
    from fairseq.modules.transformer_layer import TransformerEncoderLayerBase

    # checkpoints of official 0.12.2 hold the copies that its encoder layers have, of 8,416 each
    copied = "_load_from_state_dict" in vars(TransformerEncoderLayerBase)
    assert ask(masks=masks)["parameters"] == PARAMETERS + 2 * 8_416 * copied


def test_a_model_that_cannot_be_built(ask):
    found = ask("--encoder-attention-heads", "7")
    assert found["where"] == "train"
    assert found["problem"].startswith("train: the model cannot be built (")


def test_a_score_of_gradients_waits_for_the_first_update(ask):
    scores = ["magnitude", "matrix.scores:taylor"]
    assert "problem" not in ask(scores=scores, at_once=scores[:1])
    found = ask(scores=scores, at_once=scores)
    assert found["where"] == ["prune", "start"]
    assert found["problem"].startswith("score matrix.scores:taylor requires gradients")


@pytest.fixture
def references(toy_data, tmp_path):
    """Writes the toy's test set as references, changed."""
    lines = (toy_data.parent / "test.de").read_text().splitlines()

    def written(change):
        path = tmp_path / "references"
        path.write_text("".join(f"{line}\n" for line in change(lines)))
        return path

    return written


def test_references_that_fit(ask, references):
    # and flags of ours, which a task of fairseq's lacks
    upper = references(lambda lines: [line.upper() for line in lines])
    assert ask("--no-save-masters", references=upper, generate=["--sparse-decode"])["gpus"] >= 0


def test_references_that_do_not_fit(ask, references, toy_data):
    path = references(lambda lines: lines[:-1])
    found = ask(references=path)
    assert found["where"] == ["references"]
    assert found["problem"].startswith(
        f"{path} has 49 lines, expected 50, the sentences of the set test in {toy_data}; "
    )
    found = ask(references=references(lambda lines: [*lines[:30], *lines[31:], "w1"]))
    assert found["where"] == ["references"]
    assert "do not match line by line: sentence 31 is " in found["problem"]


def test_a_sentence_of_the_test_set_that_is_too_long(ask, references, toy_data):
    """fairseq-generate would end with it, after every training."""
    path = references(lambda lines: lines)
    lengths = [len(line.split()) + 1 for line in path.read_text().splitlines()]  # and </s>
    number = next(n for n, length in enumerate(lengths) if length > 9)
    found = ask("--max-source-positions", "9", references=path)
    assert found["problem"].startswith(
        f"sentence {number} of the set test in {toy_data} has (10, 10) tokens (source, target),"
        " which exceeds the model's (9, 1024); remove it from the set and the references, or give"
    )
    # the advice: both commands have the flag
    more = ["--max-source-positions", "10"]
    assert "problem" not in ask(*more, references=path, generate=more)


def test_subwords_that_are_not_there(ask, references):
    path = references(lambda lines: lines)
    flags = ["--bpe", "sentencepiece", "--sentencepiece-model", "none.model"]
    found = ask(references=path, generate=flags)
    assert found["problem"].startswith("the set test cannot be read (OSError: ")
    assert "none.model" in found["problem"]


def test_a_pattern_that_does_not_divide_the_rows(ask):
    found = ask(masks=[("1:5", "ffn", None)])
    assert found["where"] == "scope"
    assert found["problem"] == (
        "scope: 1:5 requires rows of a multiple of 5 weights, but those of"
        " decoder.layers.0.fc1.weight have 32; exclude the matrix by prunable or keep_dense"
    )
    # 32 is the width of most, and 64 that of the second layers alone
    assert ask(masks=[("2:64", "ffn", "fc1")])["gpus"] >= 0
    assert "fc1.weight have 32;" in ask(masks=[("2:64", "ffn", None)])["problem"]


def test_a_sparsity_that_a_distribution_cannot_reach(ask):
    """The largest one, which the message names, is reached."""
    found = ask(masks=[("uniform", "all-matrices", None, 0.99)])
    assert found["where"] == "scope"
    said = re.match(
        r"--scope uniform keeps embeddings dense, which are (\d+) of (\d+) prunable weights, but"
        r" the sparsity keeps (\d+); use a sparsity of at most (0\.\d+), ",
        found["problem"],
    )
    dense, total, kept = map(int, said.groups()[:3])
    assert kept == total - round(0.99 * total) < dense
    assert float(said[4]) == pytest.approx(1 - dense / total, abs=1e-4)
    at_most = float(said[4])
    assert "problem" not in ask(masks=[("uniform", "all-matrices", None, at_most)])
    above = at_most + 2e-4
    assert "uniform keeps" in ask(masks=[("uniform", "all-matrices", None, above)])["problem"]
    others = [("uniform", "no-embeddings", None, 0.9), ("erk", "all-matrices", None, 0.99)]
    assert "problem" not in ask(masks=others)


def test_a_set_of_matrices_that_is_empty(ask):
    found = ask(masks=[("layer", "ffn", "no_such_matrix")])
    assert found["where"] == "keep_dense"
    assert "'no_such_matrix' matches none of the 8 prunable matrices" in found["problem"]


def closing(kind, strategy, share, way="choose", **changes):
    fixed = {"kind": kind, "strategy": strategy, "share": share, "way": way}
    return {**fixed, "measure": None, "at_least": 0, **changes}


def test_parts_that_can_be_closed(ask):
    # the toy model has 2 layers with 2 heads in each of its three attentions
    every = [
        closing("heads", "lowest", 0.9), closing("heads", "apart", 0.5),
        closing("heads", "good", 0.5, "steps", at_least=1), closing("blocks", "top", 0.5),
        closing("units", "random", 0.99), closing("heads", "lowest", 0.9, measure="gates"),
    ]  # fmt: skip
    assert ask(choices=every)["gpus"] >= 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (closing("heads", "apart", 0.9), "heads-apart: 11 of 12 heads cannot be pruned without"
         " consecutive layers; prune at most 6"),
        (closing("heads", "random", 0.9, at_least=1), "heads-random: 11 of 12 heads cannot be"
         " pruned if each module keeps 1; prune at most 6"),
        (closing("heads", "bad", 0.9, "steps", at_least=1), "heads-bad: 11 of 12 heads cannot be"
         " pruned if each module keeps 1; prune at most 6"),
        (closing("heads", "lowest", 0.98, measure="gates"), "heads-gates: --open-heads 2% rounds to"
         " 0, which is out of range (1 to 12)"),
        (closing("blocks", "good", 0.1, "steps"), "blocks-good: 0.1 of 4 blocks rounds to 0;"
         " give a larger share"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be_closed(ask, asked, said):
    found = ask(choices=[asked])
    assert found["where"] == "techniques" and found["problem"] == said


MASKED = (
    "--arch roberta --encoder-layers 2 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64"
    " --encoder-attention-heads 2 --max-positions 64 --tokens-per-sample 32"
    " --criterion masked_lm_lottery --optimizer masked_adam --lr 1e-3 --batch-size 8"
).split()


def test_a_model_of_another_task_is_built_without_languages(toy_data, tmp_path):
    """Of 22,529 parameters, on the toy's symbols and <mask>."""
    (tmp_path / "dict.txt").write_text((toy_data / "dict.en.txt").read_text())
    found = answer({
        "task": "masked_lm",
        "words": {"train": [str(tmp_path), "--task", "masked_lm_lottery", *MASKED]},
        "weights": [], "adopt": [], "scores": ["magnitude"], "scheduled": [],
        "at_once": [], "component_choices": [], "analysis": None,
        "masks": [
            {"scope": "layer", "sparsity": 0.5, "prunable": "no-embeddings", "keep_dense": None}
        ],
        "tests": [], "pretrained": None,
    })  # fmt: skip
    assert found["parameters"] >= 22_529 and found["notes"] == []


def test_measures_of_an_analysis_must_exist(ask):
    assert "problem" not in ask(analysis={})
    found = ask(analysis={"measures": ["nothing"]})
    assert found["where"] == ["analyze", "measures"] and "'nothing'" in found["problem"]
