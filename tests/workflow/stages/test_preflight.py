import pytest
from toy import MODEL, PARAMETERS

from fairseq_lottery.workflow.stages.preflight import answer

pytestmark = pytest.mark.slow

FLAGS = ("-s en -t de --optimizer masked_adam --lr 1e-3 --lr-scheduler inverse_sqrt"
         " --max-tokens 500 --max-update 10").split()  # fmt: skip


@pytest.fixture
def ask(toy_data, monkeypatch):
    """What the environment says of the toy model, asked with more flags and of these masks."""
    pytest.importorskip("fairseq")
    monkeypatch.chdir(toy_data.parent)

    def asking(*flags, masks=()):
        fixed = [str(toy_data), "--task", "translation_lottery"]
        return answer({
            "train": [*fixed, *MODEL, *FLAGS, *flags],
            "generate": [*fixed, "--path", "model.pt", "-s", "en", "-t", "de"],
            "weights": [], "adopt": [], "scores": ["magnitude"], "growing": [],
            "masks": [list(mask) for mask in masks],
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


def test_a_pattern_that_does_not_divide_the_rows(ask):
    found = ask(masks=[("1:5", "ffn", None)])
    assert found["where"] == "scope"
    assert found["problem"] == (
        "scope: 1:5 needs rows of a multiple of 5 weights, and those of decoder.layers.0.fc1.weight"
        " have 32; leave the matrix out by keep_dense or prunable"
    )
    # 32 is the width of most, and 64 that of the second layers alone
    assert ask(masks=[("2:64", "ffn", "fc1")])["gpus"] >= 0
    assert "fc1.weight have 32;" in ask(masks=[("2:64", "ffn", None)])["problem"]


def test_a_set_of_matrices_that_is_empty(ask):
    found = ask(masks=[("layer", "ffn", "no_such_matrix")])
    assert found["where"] == "keep_dense"
    assert "'no_such_matrix' matches none of the 8 prunable matrices" in found["problem"]
