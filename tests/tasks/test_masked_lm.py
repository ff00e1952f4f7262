"""fairseq's masked_lm, a 2-layer RoBERTa, through all of it: tickets, pruning, resuming, export."""

import re

import pytest
import toy

from fairseq_lottery.cli.main import main
from fairseq_lottery.masks import count_to_prune
from fairseq_lottery.tickets import load_ticket, read_checkpoint, read_source, untie
from fairseq_lottery.tickets.inspection import inspect_file

pytest.importorskip("fairseq")
pytestmark = pytest.mark.slow

#: a RoBERTa of 22,529 parameters on a dictionary of 64 symbols and <mask>
MODEL = (
    "--arch roberta --encoder-layers 2 --encoder-embed-dim 32 --encoder-ffn-embed-dim 64"
    " --encoder-attention-heads 2 --max-positions 64 --tokens-per-sample 32"
    " --sample-break-mode eos"
).split()
TRAIN = (
    "--criterion masked_lm_lottery --optimizer masked_adam --lr 3e-3 --lr-scheduler inverse_sqrt"
    " --warmup-updates 10 --batch-size 16 --clip-norm 1.0 --log-interval 10 --log-format simple"
    " --num-workers 0 --seed 3 --no-epoch-checkpoints"
).split()
TASK = ["--user-dir", toy.PACKAGE, "--task", "masked_lm_lottery"]
#: from the 50 % of the ticket, over an epoch's end (38 updates), with validations within it
PRUNE = (
    "--prune-to 0.8 --prune-start 10 --prune-end 30 --prune-every 10 --save-interval-updates 10"
).split()
TABLE = "encoder.sentence_encoder.embed_tokens.weight"
PADDING = 1


class Runs:
    """A folder with data, and trainings in it."""

    def __init__(self, folder):
        self.folder = folder
        toy.write_text(folder)
        files = [x for s in ("train", "valid") for x in (f"--{s}pref", folder / f"{s}.en")]
        flags = ["--only-source", *files, "--destdir", folder / "bin"]
        toy.call("fairseq_cli.preprocess", flags, folder).ok()

    def train(self, save_dir, updates, *extra, prelude=None):
        flags = [*MODEL, *TRAIN, *TASK, "--max-update", updates, "--save-dir", save_dir, *extra]
        flags = [self.folder / "bin", *flags]
        return toy.call("fairseq_cli.train", flags, self.folder, prelude=prelude)

    def path(self, *parts):
        return str(self.folder.joinpath(*parts))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A dense run, a ticket of 50 %, and its training, which prunes on to 80 %."""
    runs = Runs(tmp_path_factory.mktemp("masked-lm"))
    runs.train("dense", 20, "--snapshot-updates", "0,5").ok()
    draw(runs, "ticket.safetensors", "dense/checkpoint_last.pt", 0.5)
    done = runs.train("pruned", 45, "--ticket", runs.path("ticket.safetensors"), *PRUNE).ok()
    (runs.folder / "pruned-log.txt").write_text(done.out)
    return runs


def draw(runs, out, weights, sparsity, *more):
    """Draw a ticket with the command; its weights are of update 5."""
    line = [
        "--mask-from",
        runs.path(weights),
        "--start-from",
        runs.path("dense/snapshot_5.safetensors"),
    ]
    assert main(["ticket", *line, "--sparsity", str(sparsity), *more, "--out", runs.path(out)]) == 0
    return load_ticket(runs.path(out))


def test_a_ticket_has_every_matrix_once_and_leaves_the_padding_row(runs):
    ticket = load_ticket(runs.path("ticket.safetensors"))
    assert ticket.mask.protected == {TABLE: PADDING}
    assert "encoder.lm_head.weight" not in ticket.values, "it is tied to the table of symbols"
    assert "encoder.lm_head.bias" in ticket.values and "encoder.lm_head.bias" not in ticket.mask
    assert ticket.mask.prunable == 14 * 1024 + 4 * 1024 + 1024
    assert ticket.adapter.name == "masked_lm"
    assert ticket.dictionaries["source"][-1] == "<mask>"


def test_training_enforces_the_mask_and_prunes_on(runs):
    state = read_checkpoint(runs.path("pruned/checkpoint_last.pt"))
    source = read_source(runs.path("pruned/checkpoint_last.pt"))
    expected = sum(count_to_prune(0.8, source.mask.size(name)) for name in source.mask)
    assert source.mask.pruned == expected
    assert source.mask.is_subset_of(load_ticket(runs.path("ticket.safetensors")).mask)
    toy.assert_pruned(state, source.mask)
    assert untie(state["model"])[1] == {"encoder.lm_head.weight": TABLE}
    assert source.mask[TABLE][PADDING].all()
    assert main(["inspect", "--check", runs.path("pruned")]) == 0


@pytest.mark.parametrize("update", [15, 42])
def test_a_killed_run_goes_on_bit_equal(runs, update):
    """Before the last step of the schedule, and in the second epoch."""
    flags = ["--ticket", runs.path("ticket.safetensors"), *PRUNE]
    kill = runs.train(f"killed{update}", 45, *flags, prelude=lambda: toy.kill_at(update))
    assert kill.code == -9, kill.out[-2000:]
    runs.train(f"killed{update}", 45, *flags).ok()
    whole, resumed = (
        read_checkpoint(runs.path(name, "checkpoint_last.pt"))
        for name in ("pruned", f"killed{update}")
    )
    toy.assert_same_training(whole, resumed)


def test_the_next_ticket_is_drawn_from_its_checkpoint_and_trains(runs):
    ticket = draw(runs, "next.safetensors", "pruned/checkpoint_last.pt", 0.9)
    before = read_source(runs.path("pruned/checkpoint_last.pt"))
    assert ticket.mask.is_subset_of(before.mask) and ticket.mask.sparsity > 0.89
    runs.train("next", 5, "--ticket", runs.path("next.safetensors")).ok()
    toy.assert_pruned(read_checkpoint(runs.path("next/checkpoint_last.pt")), ticket.mask)


def test_the_controls_of_its_own_initialiser(runs):
    fresh = draw(runs, "fresh.safetensors", "dense/checkpoint_last.pt", 0.5, "--reset", "random")
    ticket = load_ticket(runs.path("ticket.safetensors"))
    assert fresh.mask == ticket.mask
    names = set(ticket.mask)
    assert all(not fresh.values[n].equal(ticket.values[n]) for n in names)


def test_it_is_exported_and_loads_in_fairseqs_own_model(runs):
    from fairseq.models.roberta import RobertaModel

    last, dense, small = (
        runs.path(name) for name in ("pruned/checkpoint_last.pt", "plain.pt", "c.safetensors")
    )
    assert main(["export", last, "--out", dense]) == 0
    assert main(["export", last, "--to", "compact", "--out", small]) == 0
    for path in (dense, small):
        found = inspect_file(path)
        assert found["sparsity"] == inspect_file(last)["sparsity"] and found["agrees"]
        assert read_source(path).adapter.name == "masked_lm"
    state = read_checkpoint(dense)
    assert state["cfg"]["task"]["_name"] == "masked_lm"
    from argparse import Namespace

    from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

    task = MaskedLMTask.setup_task(MaskedLMConfig(data=runs.path("bin")))
    model = RobertaModel.build_model(Namespace(**state["cfg"]["model"]), task)
    assert not [n for n in model.load_state_dict(state["model"], strict=False).unexpected_keys]


def test_the_log_has_the_figures_of_its_groups(runs):
    log = (runs.folder / "pruned-log.txt").read_text()
    line = re.findall(r"valid on 'valid' subset .*", log)[-1]
    figures = dict(re.findall(r"(sparsity|density_\w+) ([\d.]+)", line))
    assert set(figures) == {
        "sparsity", "density_embedding", "density_classifier", "density_enc_self", "density_enc_ffn"
    }  # fmt: skip
    mask = read_source(runs.path("pruned/checkpoint_last.pt")).mask
    assert float(figures["sparsity"]) == pytest.approx(mask.sparsity, abs=1e-4)
    head = mask.sparsity_of("encoder.lm_head.dense.weight")
    assert float(figures["density_classifier"]) == pytest.approx(1 - head, abs=1e-4)


def test_validation_takes_every_sentence(runs):
    flags = [runs.folder / "bin", *TASK, "--path", runs.path("pruned/checkpoint_last.pt")]
    done = toy.call("fairseq_cli.validate", [*flags, "--batch-size", 16], runs.folder).ok()
    assert "| valid on 'valid' subset | loss " in done.out, done.out[-2000:]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (["export", "{}", "--to", "slim", "--out", "{}.slim.pt"], "--to slim"),
        (["export", "{}", "--to", "ctranslate2", "--out", "{}.ct2"], "--to ctranslate2"),
        (["heads", "importance", "{}", "--out", "{}.json"], "measuring heads and FFN units"),
    ],
)
def test_what_is_about_translation_is_refused(runs, line, what, capsys):
    if "ctranslate2" in line:
        pytest.importorskip("ctranslate2")
    last = runs.path("pruned/checkpoint_last.pt")
    assert main([word.format(last) for word in line]) == 2
    said = capsys.readouterr().err
    assert f"{what} requires a model that translates" in said and "is masked_lm" in said


def test_sparse_decoding_is_refused_before_anything_is_trained(runs):
    done = runs.train("sparse", 5, "--sparse-decode")
    assert done.code == 2 and "--sparse-decode requires a model that translates" in done.out
    assert not list((runs.folder / "sparse").iterdir())
