"""docs/first-steps.md, pasted from its start to its end, with trainings of few updates."""

import re
import shutil

import pytest
from docs.test_commands import ROOT, blocks, paste

PAGE = "docs/first-steps.md"
#: sizes of the page, and those of this test
SIZES = {"N=400 t=20\n": "N=20 t=2\n", " --beam 5 ": " --beam 1 --max-len-b 9 "}


def printed():
    """The lines of output on the page that do not depend on the updates."""
    markdown_it = pytest.importorskip("markdown_it")
    tokens = markdown_it.MarkdownIt("commonmark").parse((ROOT / PAGE).read_text(encoding="utf-8"))
    outputs = [token.content for token in tokens if token.type == "fence" and not token.info]
    lines = [line.rstrip() for output in outputs for line in output.splitlines()]
    return [line for line in lines if "156013 of" in line or not re.search(r"\d|^\.\.\.$", line)]


def test_the_page_has_sizes_to_replace_and_lines_to_look_for():
    for size in SIZES:
        assert "".join(blocks(PAGE, "bash")).count(size) == 1
    assert len(printed()) > 5


@pytest.mark.slow
def test_the_commands_of_the_first_steps_run(demo_folder, tmp_path):
    pytest.importorskip("sacrebleu")
    shutil.copytree(demo_folder, tmp_path / "demo")
    output = paste("\n".join(blocks(PAGE, "bash")), SIZES, tmp_path)
    shown = [line.rstrip() for line in output.splitlines()]
    assert not [line for line in printed() if line not in shown]
    checked = re.findall(r"^first/slt/\w+\.pt: .* 156013/195008 pruned", output, re.M)
    assert len(checked) >= 2
    for run in ("dense", "slt", "random"):
        assert len((tmp_path / f"first/{run}.de").read_text().splitlines()) == 500
