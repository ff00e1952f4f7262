"""A released RoBERTa from its archive to tickets, their trainings and evaluations."""

import math

import pytest
import toy

pytest.importorskip("fairseq")

import released
import torch
from fairseq import options
from fairseq.models.roberta import RobertaModel

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source
from fairseq_lottery.inference.loaded_model import batches, examples, load_for_evaluation

pytestmark = pytest.mark.slow

#: the model of the archive
MODEL = (
    "--arch roberta_base --encoder-layers 2 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32"
    " --encoder-attention-heads 4 --max-positions 512 --tokens-per-sample 32"
    " --sample-break-mode eos"
).split()
TRAIN = (
    "--task masked_lm_lottery --criterion masked_lm_lottery --optimizer masked_adam --lr 1e-3"
    " --lr-scheduler fixed --batch-size 32 --num-workers 0 --seed 3 --log-format simple"
    " --no-epoch-checkpoints --user-dir"
).split() + [toy.PACKAGE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An archive, and data with its dictionary."""
    folder = tmp_path_factory.mktemp("archives")
    released.write_roberta(folder / "roberta")
    toy.write_text(folder)
    files = [x for s in ("train", "valid") for x in (f"--{s}pref", folder / f"{s}.en")]
    flags = ["--only-source", *files, "--srcdict", folder / "roberta/dict.txt"]
    toy.call("fairseq_cli.preprocess", [*flags, "--destdir", folder / "bin"], folder).ok()
    toy.read(options.get_training_parser(), [folder / "bin", *MODEL, *TRAIN])
    return folder


def train(folder, save_dir, *extra, model=MODEL):
    flags = [folder / "bin", *model, *TRAIN, "--max-update", 6, "--save-dir", save_dir, *extra]
    return toy.call("fairseq_cli.train", flags, folder)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_update_0_of_a_ticket_of_no_sparsity_is_the_archive(folder):
    """As is the first state of a training that restores the archive by fairseq's own flag."""
    out = folder / "all.safetensors"
    drawn = ("--mask-from", folder / "roberta", "--sparsity", "0", "--out", out)
    assert main(["ticket", *map(str, drawn)]) == 0
    train(folder, "dense", "--ticket", out, "--snapshot-updates", "0,3").ok()
    flags = ("--finetune-from-model", folder / "roberta/model.pt", "--snapshot-updates", "3")
    train(folder, "plain", *flags).ok()
    weights = read_source(folder / "roberta").weights
    assert same(read_source(folder / "dense/snapshot_0.safetensors").weights, weights)
    ours, fairseqs = (
        read_source(folder / f"{name}/snapshot_3.safetensors").weights
        for name in ("dense", "plain")
    )
    assert same(ours, fairseqs) and not same(ours, weights)


@pytest.mark.parametrize("flags", [(), ("--update-freq", 2)])
def test_a_mask_of_the_archive_is_trained(folder, flags):
    name = f"half{len(flags)}"
    drawn = ("--mask-from", folder / "roberta", "--sparsity", "0.5")
    train(folder, name, *drawn, *flags).ok()
    ticket, source = (
        load_ticket(folder / name / "ticket.safetensors"),
        read_source(folder / "roberta"),
    )
    assert ticket.record["sources"]["mask_from"]["sha256"] == source.sha256
    state = read_checkpoint(folder / name / "checkpoint_last.pt")
    toy.assert_pruned(state, ticket.mask)
    assert ticket.mask.sparsity == pytest.approx(0.5, abs=1e-3)


def test_two_processes_start_from_the_archive(folder):
    port = toy.free_port()
    flags = ["--mask-from", folder / "roberta", "--sparsity", "0.5", "--snapshot-updates", "0"]
    line = [folder / "bin", *MODEL, *TRAIN, "--max-update", 4, "--save-dir", "two", *flags]
    ranks = [
        toy.start(
            "fairseq_cli.train",
            [*line, *toy.sharing(port, rank), "--ddp-backend", "legacy_ddp"],
            folder,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        toy.wait(rank).ok()
    ticket = load_ticket(folder / "two/ticket.safetensors")
    assert same(read_source(folder / "two/snapshot_0.safetensors").weights, ticket.values)
    toy.assert_pruned(read_checkpoint(folder / "two/checkpoint_last.pt"), ticket.mask)


def test_trained_weights_start_again_from_the_archive(folder):
    """The mask of a training, the survivors' values of the archive."""
    train(folder, "tuned").ok()
    out = folder / "rewound.safetensors"
    drawn = ("--mask-from", folder / "tuned/checkpoint_last.pt", "--start-from", folder / "roberta")
    assert main(["ticket", *map(str, (*drawn, "--sparsity", "0.3", "--out", out))]) == 0
    ticket, weights = load_ticket(out), read_source(folder / "roberta").weights
    for name in ticket.mask:
        assert torch.equal(ticket.values[name], weights[name] * ticket.mask[name])


@pytest.mark.parametrize(
    "before, after, sentence",
    [
        ("--encoder-attention-heads 4", "--encoder-attention-heads 8",
         "the ticket has 4 heads per encoder layer, but the model has 8; use models of one"),
        ("--encoder-layers 2", "--encoder-layers 3", "the ticket has 2 encoder layers, but the"),
    ],
)  # fmt: skip
def test_a_model_of_another_structure_is_refused(folder, before, after, sentence):
    model = " ".join(MODEL).replace(before, after).split()
    done = train(folder, "other", "--mask-from", folder / "roberta", "--sparsity", "0", model=model)
    assert done.code != 0 and sentence in done.out


def test_its_loss_is_that_of_fairseqs_own_model(folder):
    loaded = load_for_evaluation(folder / "roberta", str(folder / "bin"), cpu=True)
    hub = RobertaModel.from_pretrained(str(folder / "roberta"), bpe=None).model.eval()
    chosen = examples(loaded, "valid", None)
    total = by_hand = tokens = 0
    with torch.no_grad():
        for batch in batches(chosen, 400, torch.device("cpu")):
            loss, size, _ = loaded.evaluation.loss(loaded.model, batch)
            total, tokens = total + float(loss), tokens + size
            target = batch["target"]
            masked = target != 1
            scores = hub(**batch["net_input"])[0][masked].log_softmax(-1)
            by_hand -= float(scores.gather(1, target[masked][:, None]).sum())
    assert tokens > 50 and math.isfinite(total)
    assert total == pytest.approx(by_hand, rel=1e-5)


def test_data_of_another_dictionary_is_refused(folder):
    words = [*released.WORDS[:-1], "other"]
    (folder / "wrong").mkdir()
    released.dictionary_of(*words).save(str(folder / "wrong" / "dict.txt"))
    with pytest.raises(LotteryError, match="symbol 59 is 'other', expected 'w59' as in .*model.pt"):
        load_for_evaluation(folder / "roberta", str(folder / "wrong"), cpu=True)


def test_importance_of_heads_is_measured_from_the_folder(folder, capsys):
    out = folder / "heads.json"
    flags = ("--data", folder / "bin", "--sentences", 20, "--cpu", "--out", out)
    assert main(["heads", "importance", *map(str, (folder / "roberta", *flags))]) == 0
    assert out.is_file()
