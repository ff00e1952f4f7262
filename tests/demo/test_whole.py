"""The demo: its text and data for real, its plan, and a small part of it from end to end."""

import json
import re
import subprocess
import sys

import pytest
from forking import python

pytest.importorskip("fairseq")
pytest.importorskip("snakemake")

from fairseq_lottery.cli import demo
from fairseq_lottery.demo import outcome, prepare
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.planning.plan import make_plan
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

SIZES = {"train": 300, "valid": 20, "test": 21}


@pytest.mark.slow
def test_from_text_to_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare, "VOCABULARY", 300)
    monkeypatch.setattr(outcome, "TECHNIQUE", "one-shot")
    monkeypatch.setattr(outcome, "SPARSITY", 0.8)
    interpreter = sys.executable
    monkeypatch.setattr(sys, "executable", python())
    out = tmp_path / "demo"
    configuration = prepare.prepare(out, 1, SIZES)
    plan = make_plan(read_configuration(configuration))
    assert (len(plan.cells), len(plan.trainings), plan.unshared) == (11, 12, 24)
    assert {cell.technique for cell in plan.cells} == {
        "dense", "slt", "clt", "mp", "slt-mp", "random",
    }  # fmt: skip
    made = {path: path.stat().st_mtime_ns for path in (out / "data").iterdir()}
    prepare.prepare(out, 1, SIZES)
    assert made == {path: path.stat().st_mtime_ns for path in (out / "data").iterdir()}

    text = configuration.read_text(encoding="utf-8").replace("--max-update 1000", "--max-update 40")
    text = re.sub(r"techniques:\n(  - .*\n)+", "techniques: [one-shot]\n", text)
    configuration.write_text(text.replace("[0.8, 0.9]", "[0.8]"), encoding="utf-8")
    demo.show(configuration, out, 2)
    rows = [json.loads(line) for line in (out / "runs/records.jsonl").read_text().splitlines()]
    found = {row["technique"]: row for row in rows if row.get("metric") == "BLEU"}
    assert set(found) == {"dense", "one-shot"}
    assert found["one-shot"]["sentences"] == 21
    assert found["one-shot"]["pruned"] == pytest.approx(0.8 * found["one-shot"]["prunable"], abs=20)
    said = capsys.readouterr().out
    assert "$ fairseq-lottery run" in said and "$ fairseq-lottery report" in said
    assert "one-shot SLT" in said
    kilobytes = re.search(r"(\d+) kB as a compact file, (\d+) kB dense", said)
    compact, dense = map(int, kilobytes.groups())
    assert dense / 6 < compact < dense / 3  # a fifth of the weights, their places, the rest
    assert "sparse" not in said
    assert (out / "report/report.html").stat().st_size > 10_000
    # the command is a process that starts without fairseq; in this one the plugin is registered
    code = f"""
from pathlib import Path
from fairseq_lottery.demo import outcome
outcome.TECHNIQUE, outcome.SPARSITY = "one-shot", 0.8
print(*outcome.size_lines(Path({str(out / "runs")!r})), sep="\\n")
"""
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert kilobytes.group() in done.stdout


def test_a_folder_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(LotteryError, match="exists but is not a folder of this demo"):
        prepare.prepare(tmp_path, 1, SIZES)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
