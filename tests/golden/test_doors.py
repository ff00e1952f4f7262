"""fairseq's own doors open the golden checkpoints that store the minimum density as ``floor``."""

import re
from pathlib import Path

import pytest

pytest.importorskip("fairseq")

import torch
from golden.test_golden import STACK
from toy import LOTTERY, call, hypotheses

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import read_checkpoint, untie

HERE = Path(__file__).parent
DATA = str(HERE / "data")


@pytest.fixture
def path():
    """A checkpoint whose settings have ``floor``, and no option of its name today.

    It is of this stack: official 0.12.2 saves parameters that fairseq main does not know.
    """
    path = HERE / STACK / "trained" / "global" / "checkpoint_last.pt"
    settings = read_checkpoint(path)["cfg"]["task"]
    assert settings["floor"] == 0.1 and "min_density" not in settings
    return path


def assert_loaded(model, task, path):
    """The weights are those of the file, to the bit, and the setting is there."""
    weights, _ = untie(read_checkpoint(path)["model"])
    loaded, _ = untie(model.state_dict())
    assert weights.keys() - loaded.keys() == set()
    for name, weight in weights.items():
        assert torch.equal(loaded[name], weight), name
    assert (task.cfg.floor, task.cfg.scope, task.cfg.prune_to) == (0.1, "global", 0.8)


def test_the_loader_of_ensembles(path):
    from fairseq.checkpoint_utils import load_model_ensemble_and_task

    (model,), _, task = load_model_ensemble_and_task([str(path)], arg_overrides={"data": DATA})
    assert_loaded(model, task, path)


def test_the_hub_interface(path):
    from fairseq.models.transformer import TransformerModel

    hub = TransformerModel.from_pretrained(str(path.parent), path.name, data_name_or_path=DATA)
    assert_loaded(hub.models[0], hub.task, path)
    assert hub.translate("w1 w2 w3", beam=2)


@pytest.mark.slow
def test_generate_and_validate(path, tmp_path):
    """They print what they print of the plain file, without this package's task."""
    plain = tmp_path / "plain.pt"
    assert main(["export", str(path), "--out", str(plain)]) == 0
    translations, losses = [], []
    for file, task in ((path, LOTTERY[:4]), (plain, ["--task", "translation"])):
        flags = [DATA, *task, "--path", file, "--required-batch-size-multiple", 1]
        done = call("fairseq_cli.generate", [*flags, "--beam", 2, "--max-tokens", 200], tmp_path)
        translations.append(hypotheses(done.ok()))
        done = call("fairseq_cli.validate", [*flags, "--max-tokens", 200], tmp_path).ok()
        losses += re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", done.out)
    assert translations[0] == translations[1] != {}
    assert len(losses) == 2 and losses[0] == losses[1]
