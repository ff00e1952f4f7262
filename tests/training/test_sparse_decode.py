"""``--sparse-decode`` through fairseq's own commands and its hub interface."""

import json

import pytest
import torch
from engines import always
from toy import LOTTERY, call

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def fast():
    """A machine on which sparse products are faster; commands are forks of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fairseq_lottery.sparse.sparse_decoding.kept_choices", always)
        yield


#: 2 x 6 in the encoder, 2 x 10 in the decoder, the shared embedding
SAID = "33 of 33 matrices are sparse"


@pytest.fixture(scope="module")
def pruned(toy_data, tmp_path_factory):
    """A toy trained to 97 %."""
    from toy import Toy

    toy = Toy(toy_data, tmp_path_factory.mktemp("sparse"))
    toy.train(
        "run", "--prune-to", 0.97, "--prune-end", 60, "--prune-every", 20, updates=100,
        optimizer="masked_adam",
    ).ok()  # fmt: skip
    return toy


def generate(toy, *flags, checkpoint="run/checkpoint_last.pt"):
    arguments = [
        toy.data, *LOTTERY[:4], "--path", toy.folder / checkpoint, "--gen-subset", "test",
        "--cpu", "--batch-size", 16, *flags,
    ]  # fmt: skip
    return call("fairseq_cli.generate", arguments, toy.folder)


def hypotheses(done):
    lines = (line.split("\t") for line in done.ok().out.splitlines() if line.startswith("H-"))
    return {number: (float(score), words) for number, score, words in lines}


def assert_same(a, b):
    assert len(a) == len(b) == 50
    for number in a:
        assert a[number][1] == b[number][1]
        assert a[number][0] == pytest.approx(b[number][0], abs=1e-4)


@pytest.mark.parametrize(
    "flags, reason",
    [
        (["--beam", 5], None),
        (["--beam", 1, "--batch-size", 1], None),
        (["--beam", 4, "--print-alignment", "soft", "--prefix-size", 2], None),
        (["--beam", 3, "--no-repeat-ngram-size", 1], "it does not block repeated tokens"),
        (["--sampling", "--seed", 3, "--beam", 1], "the search is a Sampling"),
        (["--score-reference"], "the generator is a SequenceScorer"),
    ],
)
def test_generate_gives_the_same_translations(pruned, flags, reason):
    sparse = generate(pruned, "--sparse-decode", *flags)
    assert SAID in sparse.out
    assert ("fairseq's own search is used" in sparse.out) == (reason is not None)
    assert reason is None or f"because {reason}" in sparse.out
    assert_same(hypotheses(generate(pruned, *flags)), hypotheses(sparse))


def test_interactive(pruned):
    (pruned.folder / "lines").write_text("w1 w2 w3\nw4 w5\n")
    arguments = [
        pruned.data, *LOTTERY[:4], "--path", pruned.folder / "run/checkpoint_last.pt", "--cpu",
        "--input", pruned.folder / "lines", "--sparse-decode",
    ]  # fmt: skip
    done = call("fairseq_cli.interactive", arguments, pruned.folder).ok()
    assert SAID in done.out
    assert len([line for line in done.out.splitlines() if line.startswith("H-")]) == 2


HUB = """
import sys
from fairseq.models.transformer import TransformerModel

def cli_main():
    folder, data, flag = sys.argv[1:]
    import fairseq_lottery.plugin
    hub = TransformerModel.from_pretrained(
        folder, "checkpoint_last.pt", data, cpu=True, sparse_decode=flag == "sparse"
    )
    for _ in range(2):  # each call builds a generator
        print("SAID", hub.translate(["w1 w2 w3", "w4 w5 w6 w7"], beam=3))
"""


def test_the_python_interface(pruned):
    (pruned.folder / "hub_script.py").write_text(HUB)
    said = {}
    for flag in ("sparse", "dense"):
        done = call(
            "hub_script", [pruned.folder / "run", pruned.data, flag], pruned.folder,
            prelude=lambda: __import__("sys").path.insert(0, str(pruned.folder)),
        ).ok()  # fmt: skip
        assert (SAID in done.out) == (flag == "sparse")
        said[flag] = [line for line in done.out.splitlines() if line.startswith("SAID")]
    assert said["sparse"] == said["dense"] and len(said["dense"]) == 2


def test_a_model_that_was_validated_by_bleu(pruned):
    """fairseq then asks for a generator while it builds the model, before it has weights."""
    state = pruned.load("run", "checkpoint_last.pt")
    state["cfg"]["task"]["eval_bleu"] = True
    state["cfg"]["task"]["eval_bleu_args"] = json.dumps({"beam": 4})
    torch.save(state, pruned.folder / "run/bleu.pt")
    done = generate(pruned, "--sparse-decode", "--eval-bleu", checkpoint="run/bleu.pt")
    assert done.ok().out.count("matrices are sparse") == 1
    assert len(hypotheses(done)) == 50


def test_training_with_it_is_refused(pruned):
    done = pruned.train("refused", "--sparse-decode")
    assert done.code == 2
    assert "--sparse-decode applies only" in done.out


def test_half_precision_is_refused(pruned):
    done = generate(pruned, "--sparse-decode", "--fp16")
    assert done.code == 2
    assert "sparse matrices require fp32 weights on a CPU" in done.out
