"""``fairseq-lottery pair-masks --sparsity``: masks drawn from the weights of each file."""

import pytest
import small

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket
from fairseq_lottery.formats.pair_masks import load_pair_masks
from fairseq_lottery.masks.streams import torch_seed


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Snapshots of three trainings, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a", "b", "c")):
        small.save_snapshot_of(tmp_path / f"{name}.safetensors", small.weights(number))


def drawn(*words):
    line = ["en-de=a.safetensors", "fr-en,de-en=b.safetensors", "--out", "m.safetensors"]
    assert main(["pair-masks", *line, *words, "--overwrite"]) == 0
    return load_pair_masks("m.safetensors")


def by_hand(file, *words):
    line = ["--mask-from", file, *words, "--out", "t.safetensors", "--overwrite"]
    assert main(["ticket", *line]) == 0
    return load_ticket("t.safetensors").mask


@pytest.mark.parametrize(
    "words",
    [
        ["--sparsity", "0.6"],
        ["--sparsity", "0.6", "--scope", "global", "--min-density", "0.1"],
        ["--sparsity", "0.3", "--prunable", "no-embeddings", "--keep-dense", "fc1"],
        ["--scope", "2:4", "--keep-dense", "fc2"],
        ["--sparsity", "0.5", "--score", "distance", "--start-from", "c.safetensors"],
    ],
    ids=["layer", "global", "prunable", "pattern", "distance"],
)
def test_each_mask_is_that_of_a_ticket(files, words):
    masks = drawn(*words)
    assert masks["en-de"] == by_hand("a.safetensors", *words)
    assert masks["fr-en"] == masks["de-en"] == by_hand("b.safetensors", *words)
    assert len(masks.groups) == 2


def test_random_masks_of_pairs_have_streams_of_their_own(files):
    words = ["--sparsity", "0.5", "--score", "random"]
    masks = drawn(*words, "--seed", "3")
    assert masks["en-de"] != masks["fr-en"] == masks["de-en"]
    assert drawn(*words, "--seed", "3").digest() == masks.digest()
    for pair, others in (("en-de", "en-de"), ("fr-en", "de-en,fr-en")):
        seed = str(torch_seed(f"pair-masks|3|{others}"))
        assert masks[pair] == by_hand("a.safetensors", *words, "--seed", seed)
        assert masks[pair] != by_hand("a.safetensors", *words, "--seed", "3")
    assert drawn(*words, "--seed", "4")["en-de"] != masks["en-de"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["en-de=a.safetensors"], "a.safetensors is dense and has no mask; give a pruned model or"),
        (["en-de=a.safetensors", "--score", "random"], "--score requires --sparsity; add --sparsi"),
        (["en-de=a.safetensors", "--seed", "2"], "--seed requires --sparsity; add --sparsity or"),
        (["en-de=a.safetensors", "--start-from", "c.safetensors"], "--start-from requires --spars"),
        (["m.safetensors", "--sparsity", "0.5"], "m.safetensors names no pairs; give PAIRS=FILE"),
        (["m.safetensors", "--scope", "global"], "--scope requires --sparsity; add --sparsity or"),
        (["en-de=a.safetensors", "--sparsity", "1.5"], "sparsity"),
        (["en-de,en-de=a.safetensors", "--sparsity", "0.5"], "the pair en-de is given twice"),
        (["en-de=a.safetensors", "en-de=b.safetensors", "--sparsity", "0.5"], "is given twice"),
        (["en-de=none.safetensors", "--sparsity", "0.5"], "there is no file none.safetensors"),
        (["en-de=none.safetensors", "--out", "m.safetensors"], "there is no file none.safetensors"),
        (["en-de=a.safetensors", "--out", "m.safetensors"], "m.safetensors exists already; remove"),
        (["en-de=a.safetensors", "--out", "m.pt"], "--out m.pt must end in .safetensors"),
        (["en-de=a.safetensors", "m.safetensors"], "m.safetensors names no pairs; give PAIRS=FILE"),
    ],
)
def test_refusals(files, capsys, words, sentence):
    drawn("--sparsity", "0.5")
    capsys.readouterr()
    assert main(["pair-masks", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
