"""Checkpoints as fairseq's own commands write them, in all its layouts, through our commands."""

import json
import sys
from argparse import Namespace

import pytest
import torch
from toy import LOTTERY, MODEL, TRAIN, call, hypotheses, same

pytest.importorskip("fairseq")

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source

pytestmark = pytest.mark.slow

PLAIN = ["--criterion", "label_smoothed_cross_entropy", "--optimizer", "adam"]
PRUNED = [*LOTTERY, "--optimizer", "masked_adam", "--prune-to", "0.5"]
GROWTH = "--prune-start 1 --prune-end 3 --prune-every 1".split()
APART = [flag for flag in MODEL if flag != "--share-all-embeddings"]

OWN = """
import fairseq_lottery
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel, base_architecture
from torch import nn


@register_model("my_model")
class MyModel(TransformerModel):
    @classmethod
    def add_args(cls, parser):
        super().add_args(parser)
        parser.add_argument("--my-width", type=int)

    def __init__(self, args, encoder, decoder):
        super().__init__(args, encoder, decoder)
        self.extra = nn.Linear(args.my_width, 3)


@register_model_architecture("my_model", "my_own")
def my_own(args):
    args.my_width = getattr(args, "my_width", 7)
    base_architecture(args)
"""

HYDRA = """
common: {{seed: 3}}
task: {{_name: translation, data: {data}, source_lang: en, target_lang: de}}
criterion: {{_name: label_smoothed_cross_entropy, label_smoothing: 0.1}}
optimizer: {{_name: adam}}
lr_scheduler: {{_name: fixed}}
optimization: {{lr: [0.01], max_update: 2}}
dataset: {{max_tokens: 500, num_workers: 0, disable_validation: true}}
checkpoint: {{save_dir: {save_dir}, no_epoch_checkpoints: true}}
model:
  _name: transformer
  share_all_embeddings: true
  base_layers: 0
  encoder: {{layers: 2, embed_dim: 32, ffn_embed_dim: 64, attention_heads: 2}}
  decoder: {{layers: 2, embed_dim: 32, ffn_embed_dim: 64, attention_heads: 2}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("layouts")


@pytest.fixture(scope="module")
def train(toy_data, folder):
    """Train a few updates in a folder; returns its last checkpoint."""

    def run(name, *flags, model=MODEL, own=PLAIN):
        save_dir = ["--save-dir", folder / name, "--max-update", 4]
        arguments = [toy_data, *model, *TRAIN, *own, *save_dir, *flags]
        call("fairseq_cli.train", arguments, folder).ok()
        return folder / name / "checkpoint_last.pt"

    return run


def command(folder, *words):
    """One of our commands in a process of its own, which alone imports a user directory."""
    words = list(map(str, words))
    return call("fairseq_lottery.cli.main", [], folder, prelude=lambda: sys.exit(main(words)))


@pytest.fixture(scope="module")
def plain(train):
    """As README trains, and with a schedule whose best loss starts as infinite."""
    return train("plain", "--lr-scheduler", "reduce_lr_on_plateau", "--warmup-updates", 0)


def refused(folder, *words):
    done = command(folder, *words)
    assert done.code == 2, done.out
    return done.out


def heads(path, data, *flags):
    return "heads", "importance", path, "--data", data, "--sentences", 4, "--cpu", *flags


def test_default_betas_and_an_infinite_best_loss(plain, train, folder):
    pruned = train("pruned", "--lr-scheduler", "reduce_lr_on_plateau", *GROWTH, own=PRUNED)
    for path in (plain, pruned):
        small, back, dense = (path.with_name(n) for n in ("s.safetensors", "back.pt", "dense.pt"))
        assert main(["export", str(path), "--to", "compact", "--out", str(small)]) == 0
        assert main(["export", str(small), "--out", str(back)]) == 0
        assert main(["export", str(path), "--out", str(dense)]) == 0
        one, two = read_checkpoint(back), read_checkpoint(dense)
        assert same(one, two)
    assert one["optimizer_history"][-1]["lr_scheduler_state"]["best"] == float("inf")


@pytest.mark.parametrize(
    "flags",
    [
        "--encoder-normalize-before --decoder-normalize-before --no-decoder-final-norm",
        "--merge-src-tgt-embed --layernorm-embedding",
    ],
)
def test_settings_that_shape_a_model(flags, train, toy_data, folder):
    from fairseq.models.transformer import TransformerConfig

    if "--merge-src-tgt-embed" in flags and "merge_src_tgt_embed" not in TransformerConfig.__dict__:
        pytest.skip("fairseq 0.12.2 has no --merge-src-tgt-embed")
    path = train(flags.split()[-1], *flags.split(), model=APART)
    out = path.with_name("scores.json")
    command(folder, *heads(path, toy_data, "--out", out)).ok()
    assert len(json.loads(out.read_text())["scores"]["heads"]) == 6
    ticket = path.with_name("ticket.safetensors")
    draw = ("--sparsity", 0.5, "--reset", "random", "--out", ticket)
    command(folder, "ticket", "--mask-from", path, *draw).ok()
    assert load_ticket(ticket).values.keys() == read_source(path).weights.keys()


def test_a_checkpoint_of_hydra(toy_data, folder):
    (folder / "hydra.yaml").write_text(HYDRA.format(data=toy_data, save_dir=folder / "hydra"))
    flags = ["--config-dir", folder, "--config-name", "hydra", "hydra.run.dir=hydra_run"]
    call("fairseq_cli.hydra_train", flags, folder).ok()
    path = folder / "hydra" / "checkpoint_last.pt"
    flat = read_checkpoint(path)["cfg"]["model"]["decoder_input_dim"]
    assert flat in (512, None)  # not the section's; None by fairseq 0.12.2
    architecture = read_source(path).architecture
    assert architecture["decoder_input_dim"] == architecture["decoder_embed_dim"] == 32
    command(folder, *heads(path, toy_data, "--out", folder / "h.json")).ok()


def as_old(path, out):
    """A checkpoint as fairseq wrote it before 2020: one matrix for three, and no sections."""
    state = dict(read_checkpoint(path))
    model = dict(state["model"])
    for name in [n[: -len("q_proj.weight")] for n in model if n.endswith("_attn.q_proj.weight")]:
        for kind in ("weight", "bias"):
            parts = [model.pop(f"{name}{p}_proj.{kind}") for p in "qkv"]
            model[f"{name}in_proj_{kind}"] = torch.cat(parts)
    del model["decoder.output_projection.weight"]
    args = Namespace(**vars(state.pop("cfg")["model"]))
    torch.save({**state, "model": model, "args": args}, out)
    return out


def test_an_old_checkpoint_is_upgraded(plain, train, toy_data, folder):
    old = as_old(plain, folder / "old.pt")
    exported = [folder / f"{name}.exported.pt" for name in ("plain", "old")]
    for path, out in zip((plain, old), exported):
        assert main(["export", str(path), "--out", str(out)]) == 0
    states = [read_checkpoint(path) for path in exported]
    assert states[0]["model"].keys() == states[1]["model"].keys()
    assert all(torch.equal(states[0]["model"][n], w) for n, w in states[1]["model"].items())
    ticket = folder / "old.safetensors"
    draw = ("--sparsity", "0.5", "--reset", "keep", "--out", str(ticket))
    assert main(["ticket", "--mask-from", str(old), *draw]) == 0
    mask = load_ticket(ticket).mask
    assert sum(name.endswith("_attn.q_proj.weight") for name in mask) == 6
    path = train("from_old", "--ticket", ticket, own=[*LOTTERY, "--optimizer", "masked_adam"])
    assert read_source(path).mask == mask
    lines = []
    for path in (old, exported[1]):
        words = [toy_data, "--path", path, "-s", "en", "-t", "de", "--max-len-b", 5]
        lines.append(hypotheses(call("fairseq_cli.generate", words, folder).ok()))
    assert lines[0] == lines[1] and lines[0]


def test_an_architecture_of_ones_own(train, toy_data, folder):
    mine = folder / "mine"
    mine.mkdir()
    (mine / "__init__.py").write_text(OWN)
    own = [*LOTTERY, "--optimizer", "masked_adam", "--user-dir", mine]
    model = ["--arch", "my_own", "--my-width", 5, *MODEL[2:]]
    path = train("own", *GROWTH, "--prune-to", 0.5, model=model, own=own)
    said = (
        f"{path} has the architecture 'my_own', which fairseq does not have; give the"
        " folder that registers it with --user-dir"
    )
    scores, slim, ticket = (folder / f"own.{end}" for end in ("json", "pt", "safetensors"))
    measure = heads(path, toy_data, "--out", scores)
    draw = ("ticket", "--mask-from", path, "--sparsity", 0.5, "--reset", "random", "--out", ticket)
    for words in (measure, draw):
        assert refused(folder, *words).strip().endswith(said)
        command(folder, *words, "--user-dir", mine).ok()
    assert load_ticket(ticket).values["extra.weight"].shape == (3, 5), "--my-width is known"
    assert said in refused(folder, "export", path, "--to", "slim", "--out", slim)
    told = command(folder, "export", path, "--out", folder / "own.dense.pt").ok().out
    assert told.strip().endswith(
        "loads with fairseq and the --user-dir that registers its architecture my_own"
    )
    why = f"--user-dir {folder / 'gone'} does not exist; give a folder"
    assert why in refused(folder, *measure, "--user-dir", folder / "gone")
    broken = folder / "broken"
    broken.mkdir()
    (broken / "__init__.py").write_text("1 / 0")
    why = f"--user-dir {broken} cannot be imported: ZeroDivisionError: division by zero"
    assert why in refused(folder, *measure, "--user-dir", broken)
