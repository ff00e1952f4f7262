"""A new option is one entry: here one is added to a copy of the package, and found everywhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fairseq_lottery

PACKAGE = Path(fairseq_lottery.__file__).parent
TESTS = Path(__file__).resolve().parents[1]
BEFORE = "\n\n@dataclass(frozen=True)\nclass Scope:"
#: as docs/extending.md shows it
PAGE = (TESTS.parent / "docs/extending.md").read_text(encoding="utf-8").splitlines(keepends=True)
(ENTRY,) = (line for line in PAGE if line.startswith("    probe:"))


def replaced(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, path
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A folder with a copy of the package that has one more option, and nothing else new."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=ignored)
    replaced(folder / PACKAGE.name / "options/groups.py", BEFORE, f"{ENTRY}{BEFORE}")
    return folder


def run(source, folder, code):
    """What a program prints, run in ``folder`` with the package of ``source``."""
    paths = map(str, (source, TESTS, TESTS / "workflow"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_in_the_help_the_documents_a_plan_and_its_command_lines(copied, tmp_path):
    pytest.importorskip("yaml")
    code = """
from pathlib import Path
import made
from docs.option_page import page
from fairseq_lottery.cli.main import build_parser
from fairseq_lottery.workflow.command_lines.plan_stages import make_stages

parser = build_parser()._subparsers._group_actions[0].choices["ticket"]
assert "--probe SHARE" in parser.format_help() and "how far to probe" in parser.format_help()
assert "| `--probe` | `--probe` | `probe` | how far to probe | `0.5` |" in page()
plans = {n: made.plan_of(Path(), "slt", "mp", sparsities=[0.9], **({"probe": n} if n else {}))
         for n in (None, 0.5, 0.25)}
for n, value in ((None, "0.5"), (0.25, "0.25")):
    lines = [" ".join(stage.command) for stage in make_stages(plans[n])]
    assert sum(f" --score magnitude --probe {value} --scope" in line for line in lines) == 2
for cell in (1, 2):
    none, same, other = (plan.cells[cell].training for plan in plans.values())
    assert none.fingerprint == same.fingerprint != other.fingerprint
    part = "ticket" if cell == 1 else "growth"
    assert "probe" not in none.content[part] and other.content[part]["probe"] == 0.25
    print(none.fingerprint)
assert made.configure(Path(), "slt", probe=0.25).pruning["probe"] == 0.25
"""
    unchanged = """
from pathlib import Path
import made
for cell in made.plan_of(Path(), "slt", "mp", sparsities=[0.9]).cells[1:]:
    print(cell.training.fingerprint)
"""
    assert run(copied, tmp_path, code) == run(PACKAGE.parent, tmp_path, unchanged)


def test_it_is_in_a_record_and_its_signature(copied, tmp_path):
    code = """
from pathlib import Path
from small import Run
from fairseq_lottery.formats import load_ticket, save_ticket

run = Run(Path())
for value, scope in ((0.5, "scope:layer|"), (0.25, "scope:layer-probe0.25|")):
    path = run.folder / f"{value}.safetensors"
    save_ticket(path, run.draw(probe=value))
    record = load_ticket(path).record
    assert record["probe"] == value and scope in record["signature"]
ticket = run.draw()
ticket.record["probe"] = "far"
save_ticket(run.folder / "far.safetensors", ticket)
try:
    load_ticket(run.folder / "far.safetensors")
except Exception as error:
    print(error)
"""
    assert run(copied, tmp_path, code).endswith("is malformed (its probe is 'far')\n")


@pytest.mark.slow
def test_it_is_a_flag_of_fairseq_train(copied, tmp_path):
    pytest.importorskip("fairseq")
    code = """
import fairseq_cli.train
from fairseq import options
import fairseq_lottery
from fairseq_lottery.tasks import LotteryConfig
words = ["data", "--task", "translation_lottery", "--arch", "transformer", "--probe", "0.25"]
print(options.parse_args_and_arch(options.get_training_parser(), words).probe)
assert LotteryConfig().probe == 0.5
"""
    assert run(copied, tmp_path, code).splitlines()[-1] == "0.25"


@pytest.mark.parametrize(
    "file, old, new",
    [
        ("options/axes.py", '"keep": "their trained', '"more": "", "keep": "their trained'),
        ("tickets/resets.py", '        "keep": keep,', '        "more": keep, "keep": keep,'),
    ],
)
def test_a_package_with_a_name_on_one_side_only_cannot_be_imported(tmp_path, file, old, new):
    shutil.copytree(
        PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__")
    )
    replaced(tmp_path / PACKAGE.name / file, old, new)
    code = """
try:
    import fairseq_lottery.tickets
except ImportError as error:
    print(error)
"""
    place = "registry" if "axes" in file else "axis"
    printed = run(tmp_path, tmp_path, code)
    assert printed == f"the reset more is missing in its {place}; add it there\n"
