"""``fairseq-lottery export``: what it refuses, and CTranslate2 against ``fairseq-generate``."""

import json

import pytest
from small import save_checkpoint, weights
from toy import hypotheses

from fairseq_lottery.cli.main import main


def refused(capsys, *arguments):
    assert main(["export", *map(str, arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err.removeprefix("fairseq-lottery: ").rstrip("\n")


@pytest.fixture
def checkpoint(tmp_path):
    return save_checkpoint(tmp_path / "model.pt", weights())


@pytest.mark.parametrize(
    "flags", [("--quantization", "int8"), ("--data", "bin"), ("--check-on", "source.txt")]
)
@pytest.mark.parametrize("to", [(), ("--to", "dense"), ("--to", "compact")])
def test_flags_of_ctranslate2_alone(flags, to, checkpoint, tmp_path, capsys):
    said = refused(capsys, checkpoint, *to, *flags, "--out", tmp_path / "out")
    assert said == f"{flags[0]} requires --to ctranslate2; add it, or omit {flags[0]}"
    assert not (tmp_path / "out").exists()


def test_rounding_is_of_compact_files(checkpoint, tmp_path, capsys):
    pytest.importorskip("fairseq")
    arguments = (checkpoint, "--to", "ctranslate2", "--round", "fp16", "--out", tmp_path / "out")
    assert refused(capsys, *arguments).startswith("--round requires --to compact; ")


def test_ctranslate2_is_not_there(checkpoint, tmp_path, capsys, monkeypatch):
    pytest.importorskip("fairseq")
    from fairseq_lottery import environment

    find = environment.find_spec
    monkeypatch.setattr(
        environment, "find_spec", lambda name: None if name == "ctranslate2" else find(name)
    )
    said = refused(capsys, checkpoint, "--to", "ctranslate2", "--out", tmp_path / "out")
    assert said == 'ctranslate2 is not installed: pip install "ctranslate2"'


@pytest.fixture(scope="module")
def pruned(toy_data, tmp_path_factory):
    """A training that is pruned to 80 %, long enough to end its sentences."""
    from toy import Toy

    toy = Toy(toy_data, tmp_path_factory.mktemp("pruned"))
    grow = ("--prune-to", 0.8, "--prune-start", 0, "--prune-end", 60, "--prune-every", 10)
    toy.train("run", *grow, updates=120).ok()
    return toy


@pytest.mark.slow
def test_fairseq_generate_and_ctranslate2_write_the_same(pruned, tmp_path, capsys):
    pytest.importorskip("ctranslate2", reason="CTranslate2 is of the modern stack only")
    path, out = pruned.path("run", "checkpoint_last.pt"), tmp_path / "out"
    arguments = ["export", str(path), "--to", "ctranslate2", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{out}: a CTranslate2 model, weights in float32"
    assert " of 51 sentences are translated as by fairseq, token by token (beam 5)" in printed[1]
    assert printed[2].startswith("a token's log-probability differs by ") and len(printed) == 3

    from fairseq_lottery.export.ctranslate2_translator import load_translator, translate

    text = (pruned.data.parent / "test.en").read_text().splitlines()
    theirs = translate(load_translator(out, threads=1), [line.split() for line in text])
    ours = hypotheses(
        pruned.generate("run/checkpoint_last.pt", "--beam", 5, "--max-len-b", 200).ok()
    )
    same = [" ".join(theirs[number]) == ours[number] for number in range(50)]
    assert len(ours) == 50 and sum(same) >= 45

    assert main([*arguments, "--quantization", "int8"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*arguments, "--quantization", "int8", "--overwrite"]) == 0
    assert "weights in int8" in capsys.readouterr().out
    assert json.loads((out / "config.json").read_text())["add_source_eos"] is True
