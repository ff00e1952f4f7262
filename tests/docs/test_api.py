"""docs/api.md against ``__all__``, and the documents' own imports against docs/api.md."""

import ast
import importlib
import pkgutil
import re

import pytest
from docs.test_commands import ROOT, blocks

import fairseq_lottery

pytest.importorskip("fairseq")

PAGE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
PUBLIC = {
    room: set(re.findall(r"^\| `([\w.]+)` \|", text, re.M))
    for room, text in re.findall(r"^## ([\w. ]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
}
SINGLE = PUBLIC.pop("Single names")
NOT_PUBLIC = set(
    re.findall(r"`(fairseq_lottery[\w.]+)`", PAGE[PAGE.index("## What is not public") :])
)
PUBLIC.pop("What is not public")


def rooms():
    """Every package in the package."""
    prefix = f"{fairseq_lottery.__name__}."
    modules = pkgutil.walk_packages(fairseq_lottery.__path__, prefix)
    return [module.name for module in modules if module.ispkg]


def test_the_page_has_every_room_with_all():
    named = {room for room in rooms() if hasattr(importlib.import_module(room), "__all__")}
    assert named == set(PUBLIC) | NOT_PUBLIC


@pytest.mark.parametrize("room", PUBLIC)
def test_the_page_has_what_a_room_hands_on(room):
    assert PUBLIC[room] == set(importlib.import_module(room).__all__)
    for name in PUBLIC[room]:
        assert hasattr(importlib.import_module(room), name)


def test_single_names_exist():
    for name in SINGLE:
        module, attribute = name.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), attribute)


def test_the_documents_import_public_names_alone():
    imported = set()
    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md"):
        for block in blocks(page.relative_to(ROOT), "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("fairseq_lottery"):
                    imported |= {(node.module, name.name) for name in node.names}
    assert len(imported) > 10
    for module, name in imported:
        assert name in PUBLIC.get(module, ()) or f"{module}.{name}" in SINGLE, (module, name)
