"""Released archives as the start of trainings of other tasks than their own."""

import pytest
import toy

pytest.importorskip("fairseq")

import labelled
import languages
import released
import torch

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source

pytestmark = pytest.mark.slow

#: sizes of the stand-ins
SIZES = (
    "--encoder-layers 2 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32"
    " --encoder-attention-heads 4"
)
ROBERTA = f"--arch roberta_base {SIZES} --max-positions 512".split()
MBART = f"--arch mbart_large {SIZES} {SIZES.replace('encoder', 'decoder')}".split()
MBART += "--encoder-normalize-before --decoder-normalize-before --layernorm-embedding".split()
#: how fairseq's recipes start a fine-tuning
RESET = "--reset-optimizer --reset-dataloader --reset-meters --reset-lr-scheduler".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A RoBERTa as released, and two tasks with its dictionary: three classes, and scores."""
    folder = tmp_path_factory.mktemp("transfer")
    released.write_roberta(folder / "roberta", words=labelled.WORDS)
    (folder / "words.txt").write_bytes((folder / "roberta/dict.txt").read_bytes())
    labelled.write_labelled(folder, "classes", classes=3)
    labelled.write_labelled(folder, "scores", classes=0, pairs=True)
    return folder


def train(folder, data, save_dir, *extra):
    head = {"classes": ["--num-classes", 3], "scores": ["--num-classes", 1, "--regression-target"]}
    flags = [*ROBERTA, *labelled.SENTENCES, *labelled.TRAIN, *labelled.USER_DIR, *head[data]]
    line = [folder / data, *flags, "--max-update", 6, "--save-dir", save_dir, *extra]
    return toy.call("fairseq_cli.train", line, folder)


def drawn_from(folder, mask_from, sparsity):
    """A ticket of a mask, with the archive's values of the survivors."""
    out = folder / f"{mask_from.split('/')[0]}-{sparsity}.safetensors"
    files = ("--mask-from", folder / mask_from, "--start-from", folder / "roberta")
    assert main(["ticket", *map(str, (*files, "--sparsity", sparsity, "--out", out))]) == 0
    ticket, weights = load_ticket(out), read_source(folder / "roberta").weights
    assert not any(name.startswith("classification_heads.") for name in ticket.values)
    for name, value in ticket.values.items():
        kept = ticket.mask[name] if name in ticket.mask else torch.ones_like(value).bool()
        assert torch.equal(value, weights[name] * kept), name
    return out, ticket


def test_a_mask_of_one_task_trains_the_archive_on_another(folder):
    out, ticket = drawn_from(folder, "roberta", 0.3)
    assert ticket.adapter.name == "masked_lm"
    train(folder, "classes", "tuned", "--ticket", out).ok()
    out, ticket = drawn_from(folder, "tuned/checkpoint_last.pt", 0.6)
    assert ticket.adapter.name == "sentence_prediction"
    train(folder, "scores", "moved", "--ticket", out, "--update-freq", 2).ok()
    toy.assert_pruned(read_checkpoint(folder / "moved/checkpoint_last.pt"), ticket.mask)


def test_fairseqs_recipe_and_a_dense_ticket_start_from_the_same_weights(folder):
    archive = folder / "roberta/model.pt"
    out, _ = drawn_from(folder, "roberta", 0)
    train(folder, "classes", "recipe", "--restore-file", archive, *RESET, "--head-seed", 5,
          "--snapshot-updates", 3).ok()  # fmt: skip
    train(folder, "classes", "ticket", "--ticket", out, "--head-seed", 5,
          "--snapshot-updates", 3).ok()  # fmt: skip
    recipe, ticket = (
        read_source(folder / name / "snapshot_3.safetensors").weights
        for name in ("recipe", "ticket")
    )
    assert recipe.keys() == ticket.keys()
    assert all(torch.equal(recipe[name], ticket[name]) for name in recipe)


def test_data_of_another_dictionary_are_refused(folder):
    released.write_roberta(folder / "other", words=(*labelled.WORDS[:-1], "w_"))
    flags = ("--mask-from", folder / "other", "--sparsity", 0.5)
    done = train(folder, "classes", "refused", *flags)
    sentence = "dictionary of the data symbol 39 is 'w39', expected 'w_' as in the drawn ticket"
    assert done.code == 2 and sentence in done.out


def test_mbart_is_fine_tuned_from_its_archive(tmp_path):
    words = tuple(f"w{number}" for number in range(60))
    archive, _ = released.write_mbart(tmp_path / "mbart", words=words, langs="de,en,fr")
    languages.write_text(tmp_path)
    prefixes = [x for s in ("train", "valid") for x in (f"--{s}pref", tmp_path / f"{s}.en-de")]
    line = ["-s", "en", "-t", "de", *prefixes, "--srcdict", archive / "dict.txt"]
    line += ["--joined-dictionary", "--destdir", tmp_path / "bin"]
    toy.call("fairseq_cli.preprocess", line, tmp_path).ok()
    task = ["--task", "translation_from_pretrained_bart_lottery", "--langs", "de,en,fr"]
    line = [tmp_path / "bin", "-s", "en", "-t", "de", *task, *MBART, *languages.TRAIN]
    line += ["--mask-from", archive, "--sparsity", 0.5, "--max-update", 4, "--snapshot-updates", 0]
    toy.call("fairseq_cli.train", [*line, "--save-dir", "run"], tmp_path).ok()
    ticket = load_ticket(tmp_path / "run/ticket.safetensors")
    assert ticket.adapter.name == "translation_from_pretrained_bart"
    assert ticket.record["sources"]["mask_from"]["sha256"] == read_source(archive).sha256
    start, weights = (
        read_source(path).weights for path in (tmp_path / "run/snapshot_0.safetensors", archive)
    )
    assert start.keys() == weights.keys()
    for name, value in start.items():
        kept = ticket.mask[name] if name in ticket.mask else torch.ones_like(value).bool()
        assert torch.equal(value, weights[name] * kept), name
