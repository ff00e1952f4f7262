"""docs/commands.md against the parsers: every command, every flag, and lines that can be pasted."""

import re
import shlex

import pytest

pytest.importorskip("fairseq")

from docs.test_commands import ROOT, blocks

from docs import command_page
from fairseq_lottery.cli.main import build_parser
from fairseq_lottery.inference.lottery_config import LotteryConfig
from fairseq_lottery.options import GROUPS, TRAINING, options

PAGE = "docs/commands.md"


def test_the_tables_are_those_of_the_parsers():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert command_page.written(text) == text, "run python tests/docs/command_page.py"


def test_every_command_has_a_section_with_its_table():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    headings = re.findall(r"^##+ (.+)$", text, re.M)
    tables = re.findall(r"<!-- flags: (.+?) -->", text)
    assert set(command_page.parsers()) <= set(headings)
    assert sorted(tables) == sorted(command_page.tables())


def test_the_flags_of_the_tasks_are_those_of_the_options():
    added = {one.name_in(TRAINING) for one in options(*GROUPS, place=TRAINING)}
    stored = {one.stored for one in options(*GROUPS, place=TRAINING) if one.stored}
    assert set(LotteryConfig.__dataclass_fields__) - {"_name"} == added | stored


@pytest.mark.parametrize(
    "page", ["README.md", "docs/commands.md", "docs/heads.md", "docs/languages.md"]
)
def test_the_lines_of_a_page_are_parsed(page):
    count = 0
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").replace("$DRAW", "--mask-from a").splitlines():
            if line.startswith("fairseq-lottery ") and "--help" not in line:
                words = shlex.split(re.split(" [<>]", line)[0], comments=True)  # no redirections
                build_parser().parse_args(words[1:])
                count += 1
    assert count > 2
