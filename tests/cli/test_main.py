import os
import subprocess
import sys
from pathlib import Path

import pytest
from small import Run, save_checkpoint, weights
from toy import alone

from fairseq_lottery import __version__
from fairseq_lottery.cli import user_dir
from fairseq_lottery.cli.main import COMMANDS, main
from fairseq_lottery.errors import LotteryError

PACKAGE = Path(user_dir.__file__).resolve().parent.parent

#: arguments, with files of a run for the names in braces, and what the sentence says
REFUSED = {
    "a sparsity that is none": (
        "ticket --mask-from {last} --sparsity 1.5 --out {new}.safetensors",
        "--sparsity 1.5 is outside [0, 1)",
    ),
    "nothing that says what is pruned": (
        "ticket --mask-from {last} --out {new}.safetensors",
        "give --sparsity, --mask-file",
    ),
    "a snapshot never written": (
        "ticket --mask-from {last} --start-from {new}_40.safetensors --sparsity 0.5"
        " --out {new}.safetensors",
        "new_40.safetensors; beside it are snapshot_0.safetensors, snapshot_5.safetensors",
    ),
    "a regex that matches nothing": (
        "ticket --mask-from {last} --keep-dense fc3 --sparsity 0.5 --out {new}.safetensors",
        "--keep-dense 'fc3' matches none of the 33 prunable matrices",
    ),
    "an empty prunable set": (
        "ticket --mask-from {last} --prunable ffn --keep-dense fc --sparsity 0.5"
        " --out {new}.safetensors",
        "the prunable set 'ffn' is empty for this model",
    ),
    "an unknown score": (
        "ticket --mask-from {last} --score size --sparsity 0.5 --out {new}.safetensors",
        "there is no score 'size'; choose one of magnitude,",
    ),
    "an unknown scope": (
        "ticket --mask-from {last} --scope column --sparsity 0.5 --out {new}.safetensors",
        "there is no scope 'column'",
    ),
    "an unknown reset": (
        "ticket --mask-from {last} --reset none --sparsity 0.5 --out {new}.safetensors",
        "there is no reset 'none'",
    ),
    "a ticket by another name": (
        "ticket --mask-from {last} --sparsity 0.5 --out {new}.pt",
        "new.pt must end in .safetensors",
    ),
    "a folder that is missing": (
        "ticket --mask-from {last} --sparsity 0.5 --out {new}/ticket.safetensors",
        "new does not exist; create it first",
    ),
    "a ticket that exists": (
        "ticket --mask-from {last} --sparsity 0.5 --out {snapshot_0}",
        "snapshot_0.safetensors exists already",
    ),
    "a missing file": ("inspect {new}.pt", "there is no file "),
    "a file of others": ("inspect {text}", "is not a fairseq checkpoint that can be loaded safely"),
    "a corrupted snapshot": ("inspect {corrupted}", "is malformed or was not written"),
    "two dense files": ("compare {last} {snapshot_0}", "last.pt is dense"),
    "a folder without --last": ("average {folder} --out {new}.pt", "is a folder; select"),
    "the last none": ("average {folder} --last 0 --out {new}.pt", "--last 0 must be at least 1"),
    "more than there are": ("average {folder} --last 2 --out {new}.pt", "has fewer than 2 number"),
    "a mean that exists": ("average {last} --out {last}", "last.pt exists already"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run = Run(folder)
    (folder / "corrupted").mkdir()
    with open(run.snapshot_5, "rb") as file:
        (folder / "corrupted" / "x.safetensors").write_bytes(file.read()[:-1])
    (folder / "text.pt").write_text("no checkpoint")
    save_checkpoint(folder / "checkpoint1.pt", weights())
    return {
        "folder": folder, "last": run.last, "snapshot_0": run.snapshot_0, "new": folder / "new",
        "text": folder / "text.pt", "corrupted": folder / "corrupted" / "x.safetensors",
    }  # fmt: skip


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence_and_exit_code_2(files, capsys, case):
    command, sentence = REFUSED[case]
    arguments = command.format(**files).split()
    before = contents(files["folder"])
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fairseq-lottery: ") and sentence in captured.err
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n")
    assert contents(files["folder"]) == before, "nothing was written or overwritten"
    with pytest.raises(LotteryError):
        main([*arguments, "--debug"])


def run(*arguments, unbuffered="", **kwargs):
    command = [sys.executable, "-m", "fairseq_lottery.cli.main", *map(str, arguments)]
    environment = alone(PYTHONUNBUFFERED=unbuffered)
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environment, **kwargs)


def test_a_traceback_is_shown_on_request_only(files):
    missing = files["folder"] / "gone" / "last.pt"
    plain = run("inspect", missing)
    assert plain.returncode == 2
    assert plain.stderr == f"fairseq-lottery: there is no file {missing}\n"
    debug = run("inspect", missing, "--debug")
    assert debug.returncode == 1 and debug.stderr.startswith("Traceback (most recent call last)")
    assert debug.stderr.endswith(f"LotteryError: there is no file {missing}\n")


def test_a_reader_that_stops_early_is_no_error():
    """Neither while printing, nor when the little that was buffered is written at the end."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("user-dir", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "while printing"])
def test_an_output_that_cannot_be_written_is_one_sentence(unbuffered):
    with open("/dev/full", "w") as full:
        done = run("user-dir", stdout=full, unbuffered=unbuffered)
    said = "fairseq-lottery: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_a_closed_output_is_no_error():
    done = run("user-dir", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_is_quiet(capsys, monkeypatch):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(user_dir, "run", interrupted)
    assert main(["user-dir"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert "\nexample:\n  fairseq-" in text and f"fairseq-lottery {command}" in text
    assert "--debug" in text


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["roles", "r", "--sieves", ""], "the argument after --sieves is empty"),
        (["similarity", "a", "", "b"], "the argument after a is empty"),
        (["roles", "r", "--choice="], "--choice= has no value"),
    ],
)
def test_an_empty_argument_is_refused(capsys, words, sentence):
    """A variable of a script that is not set must not become a default."""
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"fairseq-lottery: {sentence}; give ")


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert set(COMMANDS) <= {line[4:].split(" ")[0] for line in text.splitlines()}
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"fairseq-lottery {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["tickets"], ["ticket"], ["inspect"], ["average", "a"]])
def test_a_command_that_cannot_be_parsed_exits_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: fairseq-lottery" in capsys.readouterr().err


def test_user_dir_is_the_package(capsys):
    assert main(["user-dir"]) == 0
    assert capsys.readouterr().out == f"{PACKAGE}\n"
    assert (PACKAGE / "plugin.py").is_file()


@pytest.mark.parametrize(
    "command",
    [
        "heads search NONE --out taken",
        "heads search NONE --kind weights --out found.json",
        "heads importance NONE --out taken",
        "heads changes taken NONE --out taken",
        "ticket --mask-from NONE --sparsity 0.5 --out found.json",
        "ticket --mask-from taken --start-from NONE --sparsity 0.5 --out found.json",
        "export NONE --to compact --out found.json",
        "unpack NONE --out .",
    ],
)
def test_a_file_that_is_missing_is_said_before_all_else(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    for name in ("taken", "taken-good", "also.pt"):
        (tmp_path / name).touch()
    words = command.replace("NONE", "none.pt").split()
    assert main(words) == 2
    said = "fairseq-lottery: there is no file none.pt; beside it are also.pt\n"
    assert capsys.readouterr().err == said


def test_a_command_shows_nothing_that_fairseq_logs_while_it_is_imported(tmp_path):
    """fairseq sets up logging to stderr, and names packages that it lacks."""
    pytest.importorskip("fairseq")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    words = ["export", tmp_path / "junk.pt", "--out", tmp_path / "out.pt"]
    done = subprocess.run(
        [sys.executable, "-m", "fairseq_lottery.cli.main", *map(str, words)],
        capture_output=True, text=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("fairseq-lottery: ") and done.stderr.count("\n") == 1
