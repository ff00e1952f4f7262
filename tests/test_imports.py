"""What importing each part loads; in processes of their own, for this one has loaded all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fairseq_lottery

PACKAGE = Path(fairseq_lottery.__file__).parent


def loaded_by(code):
    """Top-level modules that are loaded after ``code``, out of those that are heavy."""
    heavy = ("fairseq", "torch", "numpy", "safetensors", "omegaconf", "hydra", "sacrebleu")
    report = f"import sys; print(*(m for m in {heavy} if m in sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True, text=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_masks_and_tickets_need_no_fairseq():
    code = "import fairseq_lottery.masks, fairseq_lottery.tickets"
    assert loaded_by(code) == {"torch", "numpy", "safetensors"}


#: of the checkout, to plan
EXAMPLE = Path(__file__).parent.parent / "examples/wmt14/en-de.yaml"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["ticket", "--help"], ["--version"], ["run", str(EXAMPLE), "-n"]]
)
def test_the_command_starts_without_torch_and_fairseq(arguments):
    code = f"""
from fairseq_lottery.cli.main import main
try:
    main({arguments})
except SystemExit as stop:
    assert stop.code == 0
"""
    assert loaded_by(code) == set()


def imported_parts(folder, depth=2):
    """Parts of the package, and other packages, that a room's files import anywhere."""
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "imports are absolute"
                names = [node.module]
            else:
                continue
            for name in names:
                parts = name.split(".")
                own = parts[0] == "fairseq_lottery"
                yield ".".join(parts[:depth]) if own and len(parts) > 1 else parts[0]


@pytest.mark.parametrize(
    "room, below",
    [
        ("options", {"errors", "pattern"}),
        ("masks", {"errors", "pattern", "options", "own_code", "parameter_groups"}),
        ("adapters", {"errors", "files", "compat", "parameter_groups"}),
        ("compact", {"errors", "strict"}),
        (
            "tickets",
            {
                *("errors", "files", "compat", "environment", "pattern", "strict", "legacy"),
                *("plain_value", "zip_directory", "options"),
                *("masks", "compact", "structured", "adapters"),
            },
        ),
        ("report", {"errors", "files", "masks", "tickets", "strict", "structured"}),
        ("sparse", {"errors", "files", "compat", "strict"}),
        (
            "structured",
            {"errors", "files", "strict", "compat", "masks", "options", "own_code",
             "parameter_groups"},
        ),
    ],
)
def test_a_room_imports_only_from_floors_below(room, below):
    found = set(imported_parts(room))
    own = {name.split(".")[1] for name in found if name.startswith("fairseq_lottery.")}
    assert own <= below | {room}
    assert not found & {"fairseq", "fairseq_cli", "hydra", "omegaconf"}


WORKFLOW = ["trainings", "reading", "planning", "stages", "engine"]


@pytest.mark.parametrize("room", WORKFLOW)
def test_rooms_of_the_workflow_import_only_those_before_them(room):
    found = set(imported_parts(f"workflow/{room}", depth=3))
    rooms = {name.split(".")[2] for name in found if name.startswith("fairseq_lottery.workflow.")}
    assert rooms <= set(WORKFLOW[: WORKFLOW.index(room) + 1])
    assert room in rooms or room == "trainings"
    assert room == "stages" or not found & {"torch", "fairseq", "fairseq_cli", "omegaconf"}
