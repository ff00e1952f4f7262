"""Texts that fairseq would evaluate as Python, at every door that hands it a stranger's values."""

import os
import shlex
from argparse import Namespace

import pytest

pytest.importorskip("fairseq")

import torch
from fairseq.optim import adam
from hostile.watch import CANARY
from small import DICTIONARIES, Run, save_checkpoint, weights
from toy import loading

from fairseq_lottery.adapters import TRANSLATION
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_source, save_snapshot, save_ticket
from fairseq_lottery.inference.model_builder import arguments_of
from fairseq_lottery.tickets.pack import TrainingCommand, pack, unpack
from fairseq_lottery.training.start.flag_checks import refuse_setup

#: without a parenthesis: the loop assigns what an index of the class calls
PROGRAM = f"[Adam['touch {CANARY}'] for Adam.__class_getitem__ in [torch.serialization.os.system]]"
LINE = "fairseq-train bin -s en -t de --task translation_lottery --ticket t"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, in which no canary may be at the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / CANARY).exists()


def test_the_program_runs_where_fairseq_evaluates_it(tmp_path, monkeypatch):
    """The attack itself works, so that the refusals below are about something."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adam.Adam, "__class_getitem__", None, raising=False)
    cfg = Namespace(adam_betas=PROGRAM, adam_eps=1e-8, weight_decay=0, lr=[0.1],
                    use_old_adam=True, fp16_adam_stats=False, tpu=False)  # fmt: skip
    eval(cfg.adam_betas, vars(adam))
    assert (tmp_path / CANARY).exists()


@pytest.mark.parametrize("flag", ["--adam-betas", "--eval-bleu-args", "--encoder-layers"])
def test_no_command_carries_a_program(folder, flag):
    with pytest.raises(LotteryError, match=f"the command's {flag} .* is not a plain value"):
        TrainingCommand.parse(f"{LINE} {flag} {shlex.quote(PROGRAM)}", TRANSLATION)


@pytest.mark.parametrize("name", ["--adam-betas'x'", "--adam(x)", "--adäm"])
def test_no_flag_is_a_program(folder, name):
    with pytest.raises(LotteryError, match="is not a plain value"):
        TrainingCommand.parse(f"{LINE} {shlex.quote(name)} 1", TRANSLATION)


def test_no_archive_does(folder):
    from hostile.archives import Good

    save_ticket("t.safetensors", Run(folder).draw())
    (folder / "train.txt").write_text(f"{LINE} --adam-betas 0.9\n")
    pack("t.safetensors", "t.zip", "train.txt")
    good = Good(folder / "t.zip")
    command = good.content["command.txt"].replace(b"0.9", shlex.quote(PROGRAM).encode())
    assert b"__class_getitem__" in command
    (folder / "forged").mkdir()
    archive = good.forged(command__txt=command)(folder / "forged")
    with pytest.raises(LotteryError, match="is not a plain value"):
        unpack(archive, "out")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("key", ["train", "generate"])
def test_no_configuration_does(folder, key):
    pytest.importorskip("yaml")
    from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

    flags = {
        "train": "--optimizer masked_adam --max-update 9 --arch transformer",
        "generate": "--max-tokens 9",
    }
    flags[key] += f" --adam-betas {shlex.quote(PROGRAM)}"
    lines = [f"{name}: >\n  {text}\n" for name, text in flags.items()]
    (folder / "c.yaml").write_text(
        "data: bin\nreferences: r\ntechniques: [mp]\nsparsities: [0.5]\n" + "".join(lines)
    )
    with pytest.raises(LotteryError, match=f"{key}: --adam-betas .* is not a plain value"):
        read_configuration(folder / "c.yaml")


@pytest.mark.parametrize("key", ["adaptive_softmax_cutoff", "activation_fn", "encoder_layers"])
def test_no_model_is_built_of_one(folder, key):
    record = {"update": 0, "masters": True, "architecture": {"arch": "transformer", key: PROGRAM}}
    save_snapshot("s.safetensors", weights(), None, DICTIONARIES, record)
    with pytest.raises(LotteryError, match=f"has {key} .* fairseq might run as a program"):
        arguments_of(read_source("s.safetensors"))


MODEL = {"arch": "transformer", "encoder_layers": 6}


@pytest.mark.parametrize(
    "sections",
    [
        {"cfg": {"model": {**MODEL, "adaptive_softmax_cutoff": PROGRAM}}},
        {"cfg": {"model": Namespace(**MODEL, adaptive_softmax_cutoff=PROGRAM)}},
        {"cfg": {"model": {"encoder": {"xformers_att_config": PROGRAM}}}},
        {"cfg": {"model": {"character_filters": [PROGRAM]}}},
        {"cfg": {"model": MODEL, "task": {"_name": "x", "left_pad_source": PROGRAM}}},
        {"args": Namespace(**MODEL, encoder_layers_to_keep=PROGRAM)},
    ],
    ids=["a mapping", "a Namespace", "nested", "a list", "the task", "args of old"],
)
def test_no_checkpoint_that_fairseq_translates_with(folder, sections):
    torch.save({"model": weights(), **sections}, "evil.pt")
    for given in ({"path": "evil.pt"}, {"lm": "evil.pt"}):
        with pytest.raises(LotteryError, match="evil.pt has the setting .* run as a program"):
            refuse_setup(loading(**given))


def in_a_ring():
    ring = {}
    ring["cfg"] = {"model": {"again": ring}}
    ring["cfg"]["model"]["self"] = ring["cfg"]["model"]
    return ring


@pytest.mark.parametrize("state", [[1], {"cfg": [1]}, in_a_ring()], ids=["list", "cfg", "ring"])
def test_a_file_of_another_shape_is_refused_in_a_sentence(folder, state):
    torch.save(state, "odd.pt")
    with pytest.raises(LotteryError, match="odd.pt is not a fairseq checkpoint that can be loaded"):
        refuse_setup(loading("odd.pt"))


def test_what_trainings_store_is_accepted(folder):
    """Paths, patterns and JSON, which nothing evaluates, and fconv's own notation of its layers."""
    settings = {
        **MODEL, "data": "/my data (2)/bin", "keep_dense": r"^(encoder|decoder)\.embed",
        "eval_bleu_args": '{"sampling": true}', "user_dir": "C:\\x", "adam_betas": "(0.9, 0.98)",
        "encoder_layers": "[(512, 3)] * 9 + [(1024, 3)] * 4", "tensorboard_logdir": "a[1]",
        "sentencepiece_model": "/it's here (1) & there/spm.model",
    }  # fmt: skip
    save_checkpoint(folder / "good.pt", weights(), cfg={"model": Namespace(**settings),
                    "task": {"_name": "translation_lottery", **settings}})  # fmt: skip
    refuse_setup(loading("good.pt"))
    assert os.listdir(folder) == ["good.pt"]
