"""The documents' commands, as a reader pastes them: one after the other, in one folder."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from forking import folder

from fairseq_lottery.workflow.planning.plan import make_plan
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

ROOT = Path(__file__).parents[2]
#: pages in the order in which a reader pastes their commands
PAGES = ("README.md", "docs/heads.md", "docs/extending.md", "docs/techniques.md")
#: sizes of the recipes, and those of this test, which trains and translates for seconds
SIZES = {
    "N=600 t=30 ": "N=20 t=3 ", "$((N / 50))": "2", " --beam 5 ": " --beam 1 --max-len-b 9 ",
    "--trainpref demo/subwords/train.en": "--trainpref demo/subwords/test.en",
}  # fmt: skip
#: commands that are not run here
LEFT_OUT = (
    "make ",  # builds environments
    ". .venv/bin/activate",
    "fairseq-lottery doctor",
    "fairseq-lottery run table.yaml --",  # hours; tests/demo runs a table
    "fairseq-lottery report ",
    "fairseq-lottery heads compare seed1/",  # searches and choices of several seeds
    "fairseq-lottery heads compare cola=",  # and of several tasks
    "fairseq-lottery heads combine seed1/",
)
#: flags and redirections before what a command writes
_WRITES = re.compile(r"(?:--out|--save-dir|[^2]>)[ ]*([\w./-]+)")


def blocks(page, language):
    """The code blocks of a page in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def commands():
    """The shell commands of all pages that are run here."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            whole = re.sub(r'"[^"]*"', lambda text: text[0].replace("\n", "\0"), block)
            rows = whole.replace("\\\n", "\\\0").splitlines()
            found += [row.replace("\0", "\n") for row in rows if not row.startswith(LEFT_OUT)]
    return found


def written():
    """What the commands write, in their order."""
    return [path for command in commands() for path in _WRITES.findall(command)]


def test_every_file_and_folder_is_written_once():
    assert len(commands()) > 25
    assert len(written()) == len(set(written())) > 20


def test_the_configuration_of_another_task_is_planned(tmp_path):
    plans = {}
    for text in blocks("docs/workflow.md", "yaml"):
        if text.startswith("task: ") and " ...\n" not in text:
            (tmp_path / "page.yaml").write_text(text)
            plan = make_plan(read_configuration(tmp_path / "page.yaml"))
            plans[len(plan.configuration.data_sets), plan.configuration.task.name] = plan
    assert set(plans) == {(1, "masked_lm"), (1, "sentence_prediction"), (3, "sentence_prediction")}
    plan = plans[1, "masked_lm"]
    assert len(plan.cells) == 3 + 3 * 2 * 3
    assert {training.task.name for training in plan.trainings} == {"masked_lm"}
    # dense, and 7 techniques in 3 rows, with 3 seeds
    assert len(plans[1, "sentence_prediction"].cells) == 3 * (1 + 7 * 3)
    moved = [cell for cell in plans[3, "sentence_prediction"].cells if "transfer" in cell.technique]
    assert len(moved) == 3 * 3


def paste(script, sizes, where):
    """Run a script of a page in a folder, with other sizes; return what it printed."""
    for size, smaller in sizes.items():
        assert size in script
        script = script.replace(size, smaller)
    (where / "script.sh").write_text(script)
    path = f"{folder()}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-exo", "pipefail", "script.sh"], cwd=where, env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.mark.slow
def test_the_commands_of_the_documents_run_one_after_the_other(demo_folder, tmp_path):
    for package in ("sacrebleu", "ctranslate2"):
        pytest.importorskip(package)
    shutil.copytree(demo_folder, tmp_path / "demo")
    (table,) = blocks("README.md", "yaml")
    (tmp_path / "table.yaml").write_text(table)
    (tmp_path / "my_models").mkdir()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name in (
        *("my_scores.py", "my_saliency.py", "my_pruners.py", "my_measures.py", "my_analysis.py"),
        "my_models/__init__.py",
    ):
        own = blocks("docs/extending.md", "python")
        (module,) = (block for block in own if block.startswith(f"# {name}"))
        (tmp_path / name).write_text(module)
    output = paste("\n".join(commands()), SIZES, tmp_path)

    from fairseq_lottery.formats import load_ticket
    from fairseq_lottery.heads.components.choice_file import load_choice
    from fairseq_lottery.tickets.inspection import inspect_file

    sparsities = {
        "slt50/checkpoint_last.pt": 0.5, "mp90/checkpoint_last.pt": 0.9, "averaged.pt": 0.5,
        "random50/checkpoint_last.pt": 0.5, "slt50.model.safetensors": 0.5, "plain.pt": 0.5,
        "relative80.safetensors": 0.8, "momentum80/checkpoint_last.pt": 0.8,
        "steep80/checkpoint_last.pt": 0.8, "snip80/checkpoint_last.pt": 0.8,
    }  # fmt: skip
    for name, sparsity in sparsities.items():
        found = inspect_file(tmp_path / name)
        assert found["sparsity"] == pytest.approx(sparsity, abs=1e-3) and found["agrees"], name
    packed, unpacked = tmp_path / "slt50.safetensors", tmp_path / "unpacked/ticket.safetensors"
    assert load_ticket(packed).digest() == load_ticket(unpacked).digest()
    for name in ("half.json", "found.json", "output-norm-half.json"):
        parts, _ = load_choice(tmp_path / name)
        assert (parts.count_pruned("heads"), parts.count("heads")) == (6, 12), name
    for log in ("slt50/generate.log", "sparse.log"):
        assert len(re.findall(r"^H-", (tmp_path / log).read_text(), re.M)) == 500, log
    assert re.search(r'^ "score": ', output, re.M)
