"""One content, two pages: blocks rendered as Markdown and as a self-contained HTML page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

from fairseq_lottery.report.plots.style import Drawing
from fairseq_lottery.report.tables.score_tables import Table
from fairseq_lottery.report.tables.table_formats import markdown, markdown_text


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the page's title."""

    level: int
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph; backticks mark code."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list; ``folded`` names what it is and hides it until it is asked for."""

    items: Sequence[str]
    folded: str = ""


Block = Union[Heading, Text, Points, Table, Drawing]

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1b1b1b;
  background: #fff; max-width: 60rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin-bottom: .5rem; }
h2 { font-size: 1.3rem; margin-top: 2.5rem; border-bottom: 1px solid #ccc; padding-bottom: .2rem; }
h3 { font-size: 1.05rem; margin-top: 1.8rem; }
figure { margin: 1.5rem 0; }
figure.table { overflow-x: auto; }
figcaption { font-size: .9rem; margin-bottom: .5rem; }
figure.plot figcaption { margin-top: .5rem; }
img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
table { border-collapse: collapse; border-top: 2px solid #1b1b1b; border-bottom: 2px solid #1b1b1b;
  font-size: .88rem; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #1b1b1b; vertical-align: bottom; }
th, td { padding: .22rem .7rem; text-align: right; }
td { white-space: nowrap; }
table.prose th, table.prose td { text-align: left; white-space: normal; vertical-align: top; }
table.wide { font-size: .72rem; } table.wide th, table.wide td { padding: .22rem .22rem; }
tbody tr:nth-child(even) { background: #f5f5f5; }
ul.notes { font-size: .82rem; color: #444; padding-left: 1.1rem; margin: .5rem 0; }
code { font: .88em ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
details { margin: 1rem 0; } summary { cursor: pointer; }
@media print { body { max-width: none; margin: 0; font-size: 10pt; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; }
  figure.table { overflow: visible; } table { font-size: 8pt; } table.wide { font-size: 6.5pt; }
  table.wide th, table.wide td { padding: .1rem .2rem; } }
"""


def as_markdown(blocks: Sequence[Block], figures: str) -> str:
    """The page for a repository; plots are linked as SVG in the folder ``figures`` beside it."""
    return "\n".join(_markdown(block, figures) for block in blocks)


def _markdown(block: Block, figures: str) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {markdown_text(block.text)}\n"
    if isinstance(block, Text):
        return f"{markdown_text(block.text)}\n"
    if isinstance(block, Points):
        items = "".join(f"- {markdown_text(item)}\n" for item in block.items)
        if not block.folded:
            return items
        summary = html.escape(block.folded, quote=False)
        return f"<details><summary>{summary}</summary>\n\n{items}\n</details>\n"
    if isinstance(block, Table):
        notes = "".join(f"- {markdown_text(note)}\n" for note in block.notes)
        return f"{markdown_text(block.caption)}\n\n{markdown(block)}\n{notes}"
    alt = re.sub(r"[\[\]]", "", re.split(r"[.:(,] ?", block.caption)[0].strip())
    caption = markdown_text(block.caption)
    return f"![{alt}]({figures}/{block.slug}.svg)\n\n{caption}\n"


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """A page that needs nothing but itself: style, plots and tables are in it."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Points):
        items = "".join(f"<li>{_inline(item)}</li>" for item in block.items)
        if not block.folded:
            return f"<ul>{items}</ul>"
        summary = _inline(block.folded)
        return f"<details><summary>{summary}</summary><ul>{items}</ul></details>"
    if isinstance(block, Table):
        return _html_table(block)
    data = base64.b64encode(block.files["svg"]).decode()
    alt = html.escape(block.caption)
    return (
        f'<figure class="plot"><img alt="{alt}" style="width:{block.width:.2f}in"'
        f' src="data:image/svg+xml;base64,{data}">'
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
        + "</figure>"
    )


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
