"""Wrap the prose of the documents: ``python tests/docs/wrap_pages.py README.md docs/words.md``.

Tables, code, headings, images and what programs have written stay as they are. A line never breaks
inside a short piece of code or a short link.
"""

import re
import sys
import textwrap
from pathlib import Path

WIDTH = 100
#: around what a program has written
GENERATED = ("<!-- matrix: ", "<!-- end of the matrix")
#: pieces shorter than this are not broken
_PIECE = 75
_FENCE = "```"
_AS_IT_IS = re.compile(r"#|\||<!--|!\[")
_ITEM = re.compile(r"(\s*)([-*]|\d+\.) (\[[ x]\] )?")


def wrap(text):
    """Return a page with its paragraphs and list items wrapped."""
    lines, block, kept = [], [], None
    for line in text.split("\n"):
        if kept is None and line.startswith((_FENCE, GENERATED[0])):
            kept = _FENCE if line.startswith(_FENCE) else GENERATED[1]
            lines += [*_wrapped(block), line]
            block = []
        elif kept is not None:
            kept = None if line.startswith(kept) else kept
            lines.append(line)
        elif not line.strip() or _AS_IT_IS.match(line) or _is_code(line, lines, block):
            lines += [*_wrapped(block), line]
            block = []
        elif _ITEM.match(line):
            lines += _wrapped(block)
            block = [line]
        else:
            block.append(line)
    return "\n".join([*lines, *_wrapped(block)])


def _is_code(line, lines, block):
    """Whether a line is of an indented code block, which no list item is before."""
    before = [text for text in lines if text.strip()][-1:]
    return line.startswith("    ") and not block and not (before and before[0].startswith("  -"))


def _wrapped(block):
    if not block:
        return []
    item = _ITEM.match(block[0])
    first = item[0] if item else re.match(r"\s*", block[0])[0]
    rest = " " * (len(item[1]) + len(item[2]) + 1) if item else first
    words = " ".join([block[0][len(first) :], *block[1:]]).split()
    return textwrap.wrap(
        _joined(" ".join(words)), WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _joined(text):
    """Return ``text`` with NUL for the spaces in pieces that are not broken."""
    text = re.sub(r" (?=\d+[.)]( |$)|[-+*>#] )", "\0", text)  # else a line would start a list
    text = re.sub(r"(?<=\d) (?=%)|(?<=[\w)]) (?=·)", "\0", text)
    pieces = re.compile(r"`[^`]+`|\[[^]]+\]\([^)]+\)")
    return pieces.sub(lambda m: m[0].replace(" ", "\0") if len(m[0]) < _PIECE else m[0], text)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        page.write_text(wrap(page.read_text(encoding="utf-8")).replace("\0", " "), encoding="utf-8")
