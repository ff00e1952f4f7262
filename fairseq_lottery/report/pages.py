"""Blocks of a report, rendered as Markdown and as a self-contained HTML page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from fairseq_lottery.report.plots.drawings import Drawing
from fairseq_lottery.report.tables.table_formats import Table, markdown, markdown_text

FIGURES, TABLES = "figures", "tables"
_STYLE = Path(__file__).with_name("page.css")


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title of the page."""

    level: int
    text: str


@dataclass(frozen=True)
class Contents:
    """A list of all following headings, with links."""


@dataclass(frozen=True)
class Text:
    """A paragraph; backticks mark code."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Files:
    """Links to files in the folder of the page."""

    about: str
    names: Sequence[str]


Block = Union[Heading, Contents, Text, Points, Files, Table, Drawing]


def _files_of(table: Table) -> Files:
    return Files("This table", [f"{TABLES}/{table.slug}.csv", f"{TABLES}/{table.slug}.tex"])


def _links(blocks: Sequence[Block]) -> list[tuple[Heading, str]]:
    """Return the headings below the title with their anchors in GitHub's Markdown."""
    links: list[tuple[Heading, str]] = []
    repeats: dict[str, int] = {}
    for block in blocks:
        if isinstance(block, Heading):
            anchor = re.sub(r"[^\w\- ]", "", block.text.lower()).replace(" ", "-")
            repeats[anchor] = repeats.get(anchor, -1) + 1
            links.append((block, f"{anchor}-{repeats[anchor]}" if repeats[anchor] else anchor))
    return [link for link in links if link[0].level > 1]


def as_markdown(blocks: Sequence[Block]) -> str:
    """Return the Markdown page, with links to the plots as SVG files."""
    links = [
        f"{'  ' * (heading.level - 2)}- [{markdown_text(heading.text)}](#{anchor})\n"
        for heading, anchor in _links(blocks)
    ]
    return "\n".join(
        "".join(links) if isinstance(block, Contents) else _markdown(block) for block in blocks
    )


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {markdown_text(block.text)}\n"
    if isinstance(block, Text):
        return f"{markdown_text(block.text)}\n"
    if isinstance(block, Points):
        return "".join(f"- {markdown_text(item)}\n" for item in block.items)
    if isinstance(block, Files):
        links = ", ".join(f"[{name.rpartition('/')[2]}]({name})" for name in block.names)
        return f"{block.about}: {links}\n"
    if isinstance(block, Table):
        notes = "".join(f"- {markdown_text(note)}\n" for note in block.notes)
        links = _markdown(_files_of(block))
        return f"{markdown_text(block.caption)}\n\n{markdown(block)}\n{notes}\n{links}"
    assert isinstance(block, Drawing)
    alt = re.sub(r"[\[\]]", "", re.split(r"[.:(,] ?", block.caption)[0].strip())
    return f"![{alt}]({FIGURES}/{block.slug}.svg)\n\n{markdown_text(block.caption)}\n"


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """Return a self-contained HTML page with style, plots and tables."""
    links = _links(blocks)
    anchors = {id(heading): anchor for heading, anchor in links}
    contents = "".join(
        f'<li class="level{heading.level}"><a href="#{anchor}">{_inline(heading.text)}</a></li>'
        for heading, anchor in links
    )
    body = "\n".join(
        f'<ul class="contents">{contents}</ul>'
        if isinstance(block, Contents)
        else _html(block, anchors.get(id(block), ""))
        for block in blocks
    )
    style = _STYLE.read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block, anchor: str = "") -> str:
    if isinstance(block, Heading):
        return f'<h{block.level} id="{anchor}">{_inline(block.text)}</h{block.level}>'
    if isinstance(block, Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Points):
        return f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in block.items)}</ul>"
    if isinstance(block, Files):
        links = (f'<a href="{name}">{name.rpartition("/")[2]}</a>' for name in block.names)
        return f'<p class="files">{_inline(block.about)}: {", ".join(links)}</p>'
    if isinstance(block, Table):
        return _html_table(block)
    assert isinstance(block, Drawing)
    data = base64.b64encode(block.files["svg"]).decode()
    return (
        f'<figure class="plot"><img alt="{html.escape(block.caption)}"'
        f' style="width:{block.width:.2f}in" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{_inline(block.caption)}</figcaption></figure>"
    )


def _html_table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in table.header)
    rows = "\n".join(
        f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    notes = "".join(f"<li>{_inline(note)}</li>" for note in table.notes)
    kind = "prose" if table.prose else "wide" if table.wide else "numbers"
    return (
        f'<figure class="table"><figcaption>{_inline(table.caption)}</figcaption>'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + f"{_html(_files_of(table))}</figure>"
    )


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
