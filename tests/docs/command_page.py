"""Write the tables of flags in docs/commands.md: ``python tests/docs/command_page.py``.

The text between the tables is written by hand. A table is between ``<!-- flags: COMMAND -->`` and
``<!-- end of the flags -->``, and follows from the command's parser.
"""

import argparse
import re
from dataclasses import MISSING, fields
from pathlib import Path

from fairseq_lottery.cli.main import build_parser
from fairseq_lottery.options import DRAW, GROUPS, HEADS, TRAINING, options

PAGE = Path(__file__).parents[2] / "docs/commands.md"
_TABLE = re.compile(r"(<!-- flags: (.+?) -->\n).*?(<!-- end of the flags -->\n)", re.S)
_HEAD = "| flag | default | meaning |\n|---|---|---|\n"
#: flags of every command
_EVERYWHERE = ("-h", "--debug")
#: steps of ``heads`` that run a model; the flags that all of them have are a table of their own
MODEL_STEPS = ("importance", "ablate", "search", "curve", "changes")
MODEL = "heads STEP FILE"


def parsers():
    """Return command -> parser, with the steps of ``heads`` and of ``languages``."""
    commands = dict(_choices(build_parser()))
    for name in ("heads", "languages"):
        steps = _choices(commands.pop(name))
        commands |= {f"{name} {step}": parser for step, parser in steps.items()}
    return commands


def _choices(parser):
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices


def tables():
    """Return name in the page -> Markdown table of flags."""
    rows = {
        name: {action.dest: _row(action, parser, name) for action in _ordered(parser)}
        for name, parser in parsers().items()
    }
    steps = [rows[f"heads {step}"] for step in MODEL_STEPS]
    shared = dict(set.intersection(*(set(step.items()) for step in steps)))
    rows[MODEL] = {dest: row for dest, row in steps[0].items() if dest in shared}
    for step in steps:
        for dest in shared:
            del step[dest]
    rows["fairseq"] = {o.flag_in(TRAINING): _option_row(o, TRAINING) for o in _options(TRAINING)}
    rows["gates"] = dict(_gates())
    return {name: _table("".join(by_flag.values())) for name, by_flag in rows.items()}


def _ordered(parser):
    """Return the actions of a parser, those without a flag first."""
    return sorted(parser._actions, key=lambda action: bool(action.option_strings))


def _table(rows):
    return f"{_HEAD}{rows}" if rows else "No flags of its own.\n"


def _options(place):
    return options(*GROUPS, place=place)


def _row(action, parser, command):
    """Return the row of a flag; empty for flags of every command."""
    flags = action.option_strings
    if set(flags) & set(_EVERYWHERE):
        return ""
    place = HEADS if command.startswith("heads") else DRAW if command == "ticket" else None
    for one in _options(place) if place else ():
        if one.flag_in(place) in flags:
            return _option_row(one, place)
    value = "" if action.nargs == 0 else action.metavar or action.dest.upper()
    value = " ".join(value) if isinstance(value, tuple) else value
    value = "NAME" if action.choices and not action.metavar else value
    shown = ", ".join(f"`{f'{flag} {value}'.strip()}`" for flag in flags or [""])
    meaning = re.sub(r" \(default: [^)]*\)$", "", action.help or "")
    meaning = meaning.replace(f" ({action.default})", "").replace(f"({action.default})", "")
    if action.choices:
        meaning = "; ".join(filter(None, [", ".join(f"`{c}`" for c in action.choices), meaning]))
    groups = [g._group_actions for g in parser._mutually_exclusive_groups if g.required]
    either = next((group for group in groups if action in group), None)
    if either:
        default = " or ".join(f"`{one.option_strings[0]}`" for one in either) + " is required"
    else:
        default = _default(MISSING if action.required else action.default)
    return _line(shown, default, meaning)


def _option_row(one, place):
    value = "" if one.kind is bool else one.placeholder or one.name.upper()
    flag = f"`{f'{one.flag_in(place)} {value}'.strip()}`"
    names = f"; [names](options.md#{one.axis.title.replace(' ', '-')})" if one.axis else ""
    return _line(flag, _default(one.default_in(place)), one.help + names)


def _gates():
    from fairseq_lottery.heads.plugin import FLAGS, GatedConfig

    for one in fields(GatedConfig):
        if one.name in FLAGS:
            flag = f"--{one.name.replace('_', '-')}"
            meaning = one.metadata["help"].replace("%%", "%")
            yield one.name, _line(f"`{flag} N`", _default(one.default), meaning)


def _default(value):
    if value is MISSING:
        return "required"
    return "" if value is None or value is False or value in ([], "") else f"`{value}`"


def _line(*cells):
    return " ".join(["|", *(f"{cell} |".lstrip() for cell in map(_cell, cells))]) + "\n"


def _cell(text):
    return text.replace("|", "\\|")


def written(text):
    """Return the text of the page with its tables written anew."""
    by_name = tables()
    return _TABLE.sub(lambda match: f"{match[1]}\n{by_name[match[2]]}\n{match[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
