"""Files of version 0.1.0 are read, drawn from and trained on to the same bits as then."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest
import torch
from golden import looks, plans
from golden.trainings import PORTABLE

from fairseq_lottery.cli.main import main
from fairseq_lottery.tickets.pack import unpack

HERE = Path(__file__).parent
#: files of either stack are read on both
STACKS = ("modern", "classic")
#: a checkout of fairseq loads the files of the modern stack
STACK = "classic" if torch.__version__.startswith("1.12.") else "modern"


def golden(stack):
    return json.loads((HERE / stack / "looks.json").read_text())


@pytest.mark.parametrize("stack", STACKS)
def test_every_file_holds_what_it_held(stack):
    assert looks.at_files(HERE / stack) == golden(stack)["files"]
    assert looks.at_heads(HERE / stack) == golden(stack)["heads"]


@pytest.mark.parametrize("stack", STACKS)
def test_a_packed_ticket_is_unpacked(stack, tmp_path):
    unpack(HERE / stack / "packed.zip", tmp_path / "out")
    found = looks.at_files(tmp_path / "out")
    (ticket,) = found.values()
    assert ticket == golden(stack)["files"]["tickets/rewind.safetensors"]


@pytest.mark.parametrize("name", plans.configurations())
def test_every_training_has_the_fingerprint_that_it_had(name):
    pytest.importorskip("yaml")
    then = json.loads((HERE / "plans.json").read_text())
    assert plans.plan_of(plans.configurations()[name]) == then[name]


@pytest.mark.slow
def test_tickets_are_drawn_and_trainings_go_on_to_the_same_bits(tmp_path):
    """One process for all, whose arithmetic is portable; plain fairseq says whether it is."""
    pytest.importorskip("fairseq")
    if STACK == "modern" and sys.version_info < (3, 11):
        pytest.skip("no golden training is of this stack, whose torch has no fp16 on CPUs")
    line = [sys.executable, HERE / "make.py", STACK, tmp_path]
    environment = {**os.environ, **PORTABLE}
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    after, then = json.loads((tmp_path / "after.json").read_text()), golden(STACK)["after"]
    assert after["drawn"] == then["drawn"]
    if after["trained"]["plain"] != then["trained"]["plain"]:
        pytest.skip("plain fairseq, without this package, has other bits on this processor")
    assert len(after["trained"]) == {"modern": 9, "classic": 8}[STACK]
    assert after["trained"] == then["trained"]


@pytest.fixture
def workflow(tmp_path):
    """A finished workflow folder of two seeds, moved to where nothing of it was before."""
    for package in ("snakemake", "matplotlib", "sacrebleu"):
        pytest.importorskip(package)
    shutil.copytree(HERE / "workflow", tmp_path / "moved")
    shutil.copytree(HERE / "data", tmp_path / "moved" / "data")
    return tmp_path / "moved"


def test_a_finished_workflow_has_nothing_left_to_do(workflow, capsys):
    assert main(["run", str(workflow / "table.yaml"), "-n", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["pending"]["stages"] == 0
    assert {cell["state"] for cell in plan["plan"]} == {"trained"} and len(plan["plan"]) == 10


def tables_of(page):
    """The rows of all tables of a Markdown page, without those that have other columns today."""
    rows = [line.strip("| ").split(" | ") for line in page.split("\n") if line.startswith("| ")]
    return [row for row in rows if row[0][0].isdigit() or row[0].startswith("heads lowest")]


def test_its_report_has_the_same_values(workflow):
    """All numbers of all tables and files, and all figures but the map of equal densities."""
    assert main(["report", str(workflow / "runs"), "--out", str(workflow / "again")]) == 0
    for path in (workflow / "report").glob("*.csv"):
        with open(path) as then, open(workflow / "again" / path.name) as now:
            for old, new in zip_longest(csv.DictReader(then), csv.DictReader(now)):
                assert {name: new[name] for name in old} == old, path.name
    then, now = ((workflow / name / "report.md").read_text() for name in ("report", "again"))
    for row in tables_of(then):
        if row[1] in ("1", "1000001"):  # an order; its differences stand before the last column
            assert [*row[:3], row[3]] in [[*new[:3], new[-1]] for new in tables_of(now)]
        else:
            assert row in tables_of(now)
    figures = [set(re.findall(r"figures/([\w.-]+)\.svg", page)) for page in (then, now)]
    assert figures[0] - figures[1] == {"weights-densities"} and figures[1] <= figures[0]


def test_all_its_models_are_as_sparse_as_their_records_say(workflow):
    assert main(["inspect", str(workflow / "runs"), "--check"]) == 0
