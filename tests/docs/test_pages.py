"""The form of the documents: links, contents, tables, and the width of lines."""

import re
from functools import cache

import pytest
from docs.test_commands import ROOT
from docs.wrap_pages import GENERATED, WIDTH

markdown_it = pytest.importorskip("markdown_it")

PAGES = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*/README.md")),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
#: a page that is longer has contents
SCREEN = 60
_ONE_LINK = re.compile(r"\[[^]]+\]\(http\S+\)|.{,80}\S*https?:\S+")


@cache
def lines(page):
    return (ROOT / page).read_text(encoding="utf-8").splitlines()


@cache
def tokens(page):
    return markdown_it.MarkdownIt("commonmark").enable("table").parse("\n".join(lines(page)))


def inline(page):
    return [token for token in tokens(page) if token.type == "inline"]


@cache
def anchors(page):
    """The anchors that GitHub gives the headings of a page."""
    names = []
    for heading, text in zip(tokens(page), tokens(page)[1:]):
        if heading.type == "heading_open":
            shown = "".join(part.content for part in text.children)
            names.append(re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-"))
    return names


def links(page):
    parts = [part for token in inline(page) for part in token.children]
    return [part.attrs["href"] for part in parts if part.type == "link_open"]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_has_its_file_and_its_heading(page):
    for link in links(page):
        if re.match("https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), link


@pytest.mark.parametrize("page", PAGES)
def test_tables_have_no_gap(page):
    """A renderer takes rows behind a blank line for text."""
    for token in inline(page):
        assert not token.content.startswith("|"), token.content


@pytest.mark.parametrize("page", PAGES)
def test_prose_is_wrapped_at_one_width(page):
    """Tables and code are as wide as they have to be, and an address cannot be broken."""
    wide = set()
    for token in tokens(page):
        if token.type in ("paragraph_open", "heading_open"):
            wide |= {n for n in range(*token.map) if len(lines(page)[n]) > WIDTH}
    for table in (token for token in tokens(page) if token.type == "table_open"):
        wide -= set(range(*table.map))
    starts, ends = (
        [n for n, line in enumerate(lines(page)) if line.startswith(mark)] for mark in GENERATED
    )
    for start, end in zip(starts, ends):
        wide -= set(range(start, end))
    wide_lines = [text for n in wide if not _ONE_LINK.fullmatch(text := lines(page)[n])]
    assert not wide_lines, f"run python tests/docs/wrap_pages.py {page}"


@pytest.mark.parametrize("page", [p for p in PAGES if p not in ("CHANGELOG.md", "docs/options.md")])
def test_a_page_that_is_longer_than_a_screen_has_contents(page):
    if len(lines(page)) <= SCREEN:
        return
    sections = [a for a, t in zip(anchors(page), headings(page)) if t == "h2"]
    linked = {link[1:] for link in links(page) if link.startswith("#")}
    assert not [section for section in sections if section not in linked]


def headings(page):
    return [token.tag for token in tokens(page) if token.type == "heading_open"]


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_a_page_names_exists(page):
    named = {part.content for token in inline(page) for part in token.children or ()}
    for name in (text for text in named if re.fullmatch(r"[\w.]+/[\w./]+\.(py|cpp|yaml|sh)", text)):
        assert any((ROOT / base / name).exists() for base in ("", "fairseq_lottery")), name


@pytest.mark.parametrize("page", [p for p in PAGES if p.startswith("docs/")])
def test_a_page_of_the_documents_is_found_from_the_readme(page):
    assert page in links("README.md")
