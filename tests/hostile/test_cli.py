"""The commands themselves: one line on stderr, exit code 2, nothing run, nothing written."""

import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from hostile import bombs, compacts, configurations, containers, pickled, runs, watch
from safetensors.torch import save_file
from small import Run, save_checkpoint, weights

from fairseq_lottery.formats import save_ticket
from fairseq_lottery.tickets.pack import pack

PACKAGE = Path(__file__).parents[2]
LINE = "fairseq-train /bin -s en -t de --task translation_lottery --ticket t"
#: seconds after which a command hangs; on a busy machine it starts slowly
PATIENCE = 600

#: a command with files for the names in braces, and what the sentence says
REFUSED = {
    "a ticket of 8 EB": ("inspect {endless}", "was not written by fairseq-lottery"),
    "a compact ticket of terabytes": ("inspect {terabytes}", "masks of 1099511"),
    "a compact ticket cut short": ("inspect {short}", "its coded"),
    "a compact ticket of next year": ("inspect {newer}", "format version 4, expected 1 or 3"),
    "an endless layout": ("export {endless_layout} --out {out}.safetensors", "its layout exceeds"),
    "a compact model of a bomb": ("export {bombed} --out {out}.pt", "its coded values are"),
    "a mask out of a compact bomb": (
        "ticket --mask-from {bombed} --sparsity 0.9 --out {out}.safetensors", "its coded values are"
    ),
    "an archive of a compact bomb": (
        "pack {endless_layout} --command {line} --out {out}.zip", "its layout exceeds"
    ),
    "a pipe as a ticket": ("inspect {pipe}.safetensors", "there is no file"),
    "a pipe as a checkpoint": ("inspect {pipe}.pt", "there is no file"),
    "code in a checkpoint": ("inspect {evil}", "requires posix.system"),
    "code in a checkpoint of old": ("average {old} --out {out}.pt", "requires posix.system"),
    "terabytes in a checkpoint": ("inspect {large}", "not a fairseq checkpoint"),
    "an average of a pipe": ("average {pipe}.pt --out {out}.pt", "there is no file"),
    "an average with NaN": ("average {nan} {last} --out {out}.pt", "that are NaN or infinite"),
    "an export of code": ("export {evil} --out {out}.pt", "requires posix.system"),
    "an export of a pipe": ("export {pipe}.pt --out {out}.pt", "there is no file"),
    "a comparison with a folder": ("compare {ticket} {folder}", "is a folder"),
    "a comparison with text": ("compare {ticket} {text}", "can be loaded safely"),
    "a mask out of a pipe": (
        "ticket --mask-from {last} --mask-file {pipe}.safetensors --out {out}.safetensors",
        "there is no file",
    ),
    "scores out of a pipe": (
        "ticket --mask-from {last} --sparsity 0.5 --score-file {pipe}.safetensors"
        " --out {out}.safetensors",
        ".safetensors is not a file",
    ),
    "scores that are NaN": (
        "ticket --mask-from {last} --sparsity 0.5 --score-file {scores} --out {out}.safetensors",
        "are not all finite",
    ),
    "gradients out of a pipe": (
        "ticket --mask-from {last} --sparsity 0.5 --score snip --gradients {pipe}.safetensors"
        " --out {out}.safetensors",
        ".safetensors is not a file",
    ),
    "gradients of a pipe": ("gradients {pipe}.pt --out {out}.safetensors", "there is no file"),
    "parts out of a pipe": (
        "ticket --mask-from {last} --components {pipe}.txt --out {out}.safetensors",
        "cannot be read: it is a pipe",
    ),
    "a choice out of a pipe": (
        "heads prune {last} --components {pipe}.txt --out {out}.pt", "cannot be read: it is a pipe"
    ),
    "scores of heads out of a pipe": (
        "heads choose --scores {pipe}.txt --share 0.5 --out {out}.json",
        "cannot be read: it is a pipe",
    ),
    "a choice that is a checkpoint": (
        "heads prune {last} --components {last} --out {out}.pt", "cannot be read: 'utf-8' codec"
    ),
    "a command out of a pipe": (
        "pack {ticket} --command {pipe}.txt --out {out}.zip", "cannot be read: it is a pipe"
    ),
    "an archive of a bomb": ("unpack {bomb} --out {out}", "expands from"),
    "an archive that leads out": ("unpack {way} --out {out}", "is not unpacked"),
    "laughs as a configuration": ("run {laughs} -n", "exceeds 100000 values"),
    "code in a configuration": ("run {tagged} -n", "invalid YAML"),
    "a pipe as a configuration": ("run {pipe}.yaml -n", "cannot be read: it is a pipe"),
    "records out of a pipe": ("report {runs} --out {out}", "records.jsonl cannot be read"),
    "records that are none": ("report {strange} --out {out}", "(score is True, expected"),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Everything that the commands name; ``out`` is not there and must not come to be."""
    folder = tmp_path_factory.mktemp("files")
    run = Run(folder)
    ticket = folder / "ticket.safetensors"
    save_ticket(ticket, run.draw(sparsity=0.9))
    for name in ("pipe.safetensors", "pipe.pt", "pipe.txt", "pipe.yaml"):
        os.mkfifo(folder / name)
    (folder / "endless.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}" * 99)
    call = pickled.Call(os.system, f"touch {watch.CANARY}")
    save_checkpoint(folder / "evil.pt", weights(), extra_state={"x": call})
    torch.save(
        {"model": weights(), "x": call}, folder / "old.pt", _use_new_zipfile_serialization=False
    )
    torch.save({"model": {"w": pickled.sizes()["a repeated number"]}}, folder / "large.pt")
    broken = weights()
    broken["encoder.layers.0.fc1.bias"][0] = torch.nan
    save_checkpoint(folder / "nan.pt", broken)
    (folder / "text.pt").write_text("no checkpoint")
    scores = {name: torch.full_like(weight, torch.nan) for name, weight in weights().items()}
    save_file(scores, str(folder / "scores.safetensors"))
    (folder / "train.txt").write_text(LINE)
    pack(ticket, folder / "whole.zip", folder / "train.txt")
    for name, member, content in (("bomb", "README.txt", bytes(1 << 24)), ("way", "../evil", b"x")):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
    laughs = configurations.yamls()["YAML: a billion laughs as a title"]
    laughs(folder).rename(folder / "laughs.yaml")
    tagged = configurations.yamls()["YAML: the tag object/apply:os.system [touch canary]"]
    tagged(folder).rename(folder / "tagged.yaml")
    bad = runs.RECORDS[0] | {"score": True}
    runs.folder_with(**{"records.jsonl": json.dumps(bad)})(folder / "strange")
    runs.folder_with(**{"records.jsonl": None})(folder / "runs")
    os.mkfifo(folder / "runs" / "run" / "records.jsonl")
    compact_files(folder)
    named = ("endless.safetensors", "terabytes.safetensors", "short.safetensors",
             "newer.safetensors", "endless_layout.safetensors", "bombed.safetensors",
             "evil.pt", "old.pt", "large.pt", "nan.pt", "last.pt", "text.pt",
             "ticket.safetensors", "scores.safetensors", "bomb.zip", "way.zip", "laughs.yaml",
             "tagged.yaml")  # fmt: skip
    return {
        **{name.partition(".")[0]: folder / name for name in named},
        "pipe": folder / "pipe", "line": folder / "train.txt", "out": folder / "out",
        "folder": folder,
        "runs": folder / "runs" / "run", "strange": folder / "strange" / "run",
    }  # fmt: skip


def compact_files(folder):
    """Compact files that are none, made of a good ticket and a good model."""
    (folder / "compact").mkdir()
    paths = compacts.good_files(folder / "compact")
    ticket, model = compacts.Good(paths["ticket"]), compacts.Good(paths["model"])
    absurd = ticket.changed(
        "record", "mask", "shapes", "encoder.layers.0.fc1.weight", to=[2**20, 2**20]
    )
    made = {
        "terabytes": ticket.with_layout(absurd),
        "short": ticket.with_streams(float32__3=ticket.stored["float32.3"][:-3]),
        "newer": ticket.headed({**ticket.header, "version": 4}),
        "endless_layout": ticket.with_streams(layout=containers.stream(bombs.repeated(1 << 15))),
        "bombed": model.with_streams(float32__0=containers.stream(bombs.repeated(1 << 15))),
    }
    for name, make in made.items():
        make(folder / "compact").rename(folder / f"{name}.safetensors")


def refused(files, arguments, said, call):
    """Run one command and look at all that it may have left."""
    pytest.importorskip({"export": "fairseq", "run": "rich", "report": "matplotlib"}.get(
        arguments.split()[0], "torch"
    ))  # fmt: skip
    before = watch.listing(files["folder"])
    code, stdout, stderr = call([word.format(**files) for word in arguments.split()])
    assert (code, stdout) == (2, ""), stderr
    assert stderr.startswith("fairseq-lottery: ") and said in stderr
    assert stderr.count("\n") == 1 and not watch.one_sentence(stderr.rstrip("\n"))
    assert watch.listing(files["folder"]) == before and not (Path.cwd() / watch.CANARY).exists()


def in_a_fork(arguments):
    """The command in a child of this process, which has imported everything already."""
    from fairseq_lottery.cli.main import main

    ends = [os.pipe(), os.pipe()]
    child = os.fork()
    if child == 0:
        code = 99
        try:
            for number, (_, end) in enumerate(ends, 1):
                os.dup2(end, number)
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w")
            code = main(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    for _, end in ends:
        os.close(end)
    deadline = time.monotonic() + PATIENCE
    ended, status = 0, 0
    while not ended:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            pytest.fail(f"{arguments} hangs")
        time.sleep(0.01)
        ended, status = os.waitpid(child, os.WNOHANG)
    texts = [open(end).read() for end, _ in ends]
    return os.waitstatus_to_exitcode(status), *texts


@pytest.mark.parametrize("name", REFUSED)
def test_a_command_refuses_in_one_line(files, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # where code would leave its canary
    refused(files, *REFUSED[name], in_a_fork)


def test_and_so_does_its_process(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(arguments):
        command = [sys.executable, "-m", "fairseq_lottery.cli.main", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, env=environment, check=False
        )
        return ended.returncode, ended.stdout, ended.stderr

    refused(files, *REFUSED["code in a checkpoint"], call)
