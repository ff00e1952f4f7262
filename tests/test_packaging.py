import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import fairseq_lottery

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    *("adapters", "cli", "demo", "export", "files", "formats", "heads", "inference", "masks"),
    *("options", "report", "sparse", "tasks", "tickets", "training", "workflow"),
)
EXTRAS = [
    *("analysis", "ctranslate2", "demo", "fairseq", "report", "sparse", "test", "torch"),
    "workflow",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the tree as it stands, built from a copy: building leaves files behind."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    for name in ("fairseq_lottery", "tests"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*build, "--no-index", "--wheel-dir", out, tree], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {path for path in (ROOT / "fairseq_lottery").rglob("*") if path.is_file()}
    source = {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}
    assert packed == source and "fairseq_lottery/py.typed" in packed
    assert {f"fairseq_lottery/{room}/__init__.py" for room in ROOMS} <= packed


def test_a_bare_install_requires_nothing(metadata):
    required = metadata.get_all("Requires-Dist")
    assert [requirement for requirement in required if "extra ==" not in requirement] == []
    assert sorted(metadata.get_all("Provides-Extra")) == EXTRAS
    assert metadata["Requires-Python"] == ">=3.9"
    assert metadata["Version"] == fairseq_lottery.__version__


@pytest.mark.parametrize(
    "python, fairseq, torch",
    [("3.10", "fairseq==0.12.2", "torch<2.6"), ("3.11", "fairseq-fixed==0.12.3.1", "torch>=2.6")],
)
def test_each_python_gets_its_fairseq(metadata, python, fairseq, torch):
    markers = pytest.importorskip("packaging.requirements")
    chosen = []
    for requirement in map(markers.Requirement, metadata.get_all("Requires-Dist")):
        if requirement.marker.evaluate({"python_version": python, "extra": "fairseq"}):
            chosen.append(f"{requirement.name}{requirement.specifier}")
    assert fairseq in chosen and torch in chosen
    assert len([name for name in chosen if name.startswith("fairseq")]) == 1


def test_the_command_is_installed(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "fairseq-lottery = fairseq_lottery.cli.main:main" in wheel.read(name).decode()
