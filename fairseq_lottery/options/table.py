"""The page of all options: ``python -m fairseq_lottery.options.table > docs/options.md``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING
from typing import Any

from fairseq_lottery.options.groups import GROUPS
from fairseq_lottery.options.option import DRAW, HEADS, TRAINING, WORKFLOW, Option, options

_TOP = """# Options

This page lists every option: where it is given, its default, and which values it takes. Flags are
those of `fairseq-lottery ticket` (or `heads`, where the row says so) and of fairseq's commands
with a lottery task, as `translation_lottery` or `masked_lm_lottery`. Keys are those of a
configuration of `fairseq-lottery run`. Where a row has two defaults, the first is the flag's and
the second the key's. "Key in files" is filled where files use another name. The page is written
by `python -m fairseq_lottery.options.table`.
"""
_HEAD = "| flag of `ticket` | of fairseq | key | meaning | default | key in files |\n" + "|---" * 6


def page() -> str:
    """Return the page of all options and the names that they may be."""
    return "".join([_TOP, *_tables(), "\n# Names\n", *_names()])


def _tables() -> Iterator[str]:
    for group in GROUPS:
        rows = "".join(_row(one) for one in options(group))
        text = str(group.__doc__).replace("``", "`")
        yield f"\n{text}\n\n{_HEAD}|\n{rows}"


def _row(one: Option) -> str:
    names = {
        DRAW: f"`{one.flag_in(DRAW)}`",
        TRAINING: f"`{one.flag_in(TRAINING)}`",
        WORKFLOW: f"`{one.name_in(WORKFLOW)}`",
    }
    defaults = dict.fromkeys(_shown(one.default_in(place)) for place in one.places)
    if HEADS in one.places:
        names[DRAW] = f"`heads {one.flag_in(HEADS)}`"
    places = [DRAW if place == HEADS else place for place in one.places]
    cells = [
        *(name if place in places else "" for place, name in names.items()),
        one.help + (f"; [names](#{one.axis.title.replace(' ', '-')})" if one.axis else ""),
        ", ".join(filter(None, defaults)),
        f"`{one.stored}`" if one.stored else "",
    ]
    return "| " + " | ".join(cells) + " |\n"


def _shown(default: Any) -> str:
    if default is MISSING:
        return "required"
    return "" if default is None or default is False else f"`{default}`"


def _names() -> Iterator[str]:
    for one in options(*GROUPS):
        if one.axis is not None:
            rows = "".join(f"| `{name}` | {text} |\n" for name, text in one.axis.names.items())
            yield f"\n## {one.axis.title}\n\n| name | meaning |\n|---|---|\n{rows}"
            yield f"\nOr {one.axis.others}.\n" if one.axis.others else ""


if __name__ == "__main__":
    print(page(), end="")
