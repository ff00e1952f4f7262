"""What importing each part loads; in processes of their own, for this one has loaded all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from toy import drawing

import fairseq_lottery
from fairseq_lottery.extensions import (
    EXTENSIONS,
    load_data_set_reports,
    load_plugins,
    load_reports,
    load_techniques,
)

PACKAGE = Path(fairseq_lottery.__file__).parent


def loaded_by(code):
    """Top-level modules that are loaded after ``code``, out of those that are heavy."""
    heavy = (
        *("fairseq", "torch", "numpy", "safetensors", "omegaconf", "hydra", "sacrebleu"),
        *("scipy", "sklearn", "statsmodels", "pandas", "h5py", "matplotlib", "sentencepiece"),
    )
    report = f"import sys; print(*(m for m in {heavy} if m in sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True, text=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_masks_and_tickets_need_no_fairseq():
    code = "import fairseq_lottery.masks, fairseq_lottery.formats, fairseq_lottery.tickets"
    assert loaded_by(code) == {"torch", "numpy", "safetensors"}


#: of the checkout, to plan
EXAMPLE = Path(__file__).parent.parent / "examples/wmt14/en-de.yaml"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["ticket", "--help"],
        ["probe", "--help"],
        ["analyze", "--help"],
        ["--version"],
        ["run", str(EXAMPLE), "-n"],
    ],
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


def imports_of(path):
    """Modules that a file imports anywhere, but for those that only annotations need."""
    names = []

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node):
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_Import(self, node):
            names.extend(alias.name for alias in node.names)

        def visit_ImportFrom(self, node):
            assert node.level == 0, "imports are absolute"
            whole = node.module == PACKAGE.name
            names.extend(f"{node.module}.{a.name}" for a in node.names if whole)
            names.extend([] if whole else [node.module])

    Visitor().visit(ast.parse(path.read_text(encoding="utf-8")))
    return names


def imported_parts(room, depth=2):
    """ComponentMask of the package, and other packages, that a room's files import."""
    place = PACKAGE / room
    for path in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
        for name in imports_of(path):
            parts = name.split(".")
            if name != f"{PACKAGE.name}.__version__":
                yield ".".join(parts[:depth]) if parts[0] == PACKAGE.name else parts[0]


#: from the ground up; rooms on one floor do not know each other
FLOORS = [
    ["errors", "lazy_names", "extensions"],
    ["files", "options", "environment"],
    ["compat", "records"],
    ["adapters", "sparse"],
    ["masks", "decoding"],
    ["formats", "saliency"],
    ["tickets", "inference", "report"],
    ["training", "export"],
    ["tasks"],
]
ROOMS = [room for floor in FLOORS for room in floor]
#: those that import fairseq
FAIRSEQ = {"compat", "decoding", "inference", "training", "export", "tasks"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_floors_below(room):
    found = set(imported_parts(room))
    own = {name.split(".")[1] for name in found if name.startswith(f"{PACKAGE.name}.")}
    (number,) = (number for number, floor in enumerate(FLOORS) if room in floor)
    assert own <= {room, *(one for floor in FLOORS[:number] for one in floor)}
    assert room in FAIRSEQ or not found & {"fairseq", "fairseq_cli", "hydra", "omegaconf"}


@pytest.mark.parametrize("extension, importers", [
    ("heads", {"cli", "languages", "workflow"}),
    ("analysis", {"languages", "workflow"}),  # the command finds its modules by their names
    ("languages", set()),
])  # fmt: skip
def test_extensions_are_imported_by_the_rooms_above_them_only(extension, importers):
    rooms = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    assert (extension in EXTENSIONS) == (extension != "languages")  # nothing loads it but a command
    assert importers == {
        room
        for room in rooms - {extension, "__pycache__", "py"}
        if f"{PACKAGE.name}.{extension}" in set(imported_parts(room))
    }


def test_every_module_of_an_extension_exists():
    loaders = (load_plugins, load_reports, load_data_set_reports, load_techniques)
    assert [module.__name__ for load in loaders for module in load()] == [
        "fairseq_lottery.heads.plugin",
        "fairseq_lottery.heads.report",
        "fairseq_lottery.analysis.report",
        "fairseq_lottery.heads.report.data_sets",
        "fairseq_lottery.heads.workflow.techniques",
    ]


#: of a snapshot and a checkpoint under golden/
DRAWING = """
from fairseq_lottery.formats import read_source
from fairseq_lottery.tickets import DrawPlan, draw

last = "tests/golden/modern/trained/{run}/checkpoint_last.pt"
print(read_source(last).kind)
plan = DrawPlan(mask_from=last, sparsity={sparsity}, start_from=last, reset="rewind")
print(draw(plan).mask.sparsity)
"""


@pytest.mark.parametrize("run, sparsity", [("dense", 0.5), ("ticket", 0.7)])
def test_reading_and_drawing_load_no_extension(run, sparsity):
    assert extensions_loaded_by(DRAWING.format(run=run, sparsity=sparsity)) == set()


@pytest.mark.slow
def test_training_a_weight_ticket_loads_no_extension_but_its_names(toy, dense):
    words = [*map(str, toy.arguments("run", *drawing(dense, 0.5)))]
    code = f"import runpy, sys; sys.argv = ['fairseq-train', *{words}]\n"
    code += "runpy.run_module('fairseq_cli.train', run_name='__main__')"
    assert extensions_loaded_by(code) == {"fairseq_lottery.heads.plugin"}


def extensions_loaded_by(code):
    """Modules of extensions that are loaded after ``code``, but for the empty package."""
    inside = tuple(f"fairseq_lottery.{name}." for name in EXTENSIONS)
    report = f"print(*(m for m in sys.modules if m.startswith({inside})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\n{report}"],
        capture_output=True, text=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


WORKFLOW = ["trainings", "reading", "planning", "command_lines", "stages", "engine"]


@pytest.mark.parametrize("room", WORKFLOW)
def test_rooms_of_the_workflow_import_only_those_before_them(room):
    found = set(imported_parts(f"workflow/{room}", 3))
    rooms = {name.split(".")[2] for name in found if name.startswith("fairseq_lottery.workflow.")}
    assert rooms <= set(WORKFLOW[: WORKFLOW.index(room) + 1])
    assert room in rooms or room == "trainings"
    assert room == "stages" or not found & {"torch", "fairseq", "fairseq_cli", "omegaconf"}
