"""A report from beginning to end: read everything, refuse what does not fit, then write."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Union

import fairseq_lottery
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.report.pages import Block, Heading, Points, Text, as_html, as_markdown
from fairseq_lottery.report.plots.style import Drawing, Size
from fairseq_lottery.report.reading.groups import Group, gather
from fairseq_lottery.report.reading.mask_tables import Masks, look
from fairseq_lottery.report.reading.plans import WEIGHTS
from fairseq_lottery.report.reading.records import Run, read_run
from fairseq_lottery.report.sections import section
from fairseq_lottery.report.tables.orders import comparisons_csv
from fairseq_lottery.report.tables.published_comparison import beside
from fairseq_lottery.report.tables.score_tables import Table
from fairseq_lottery.report.tables.table_formats import (
    comma_separated,
    latex,
    markdown,
    markdown_text,
)
from fairseq_lottery.report.tables.tidy_results import densities_csv, overlaps_csv, results_csv

PACKAGES = ("torch", "fairseq", "fairseq-fixed", "sacrebleu", "scipy", "numpy", "matplotlib")
FIGURES, TABLES = "figures", "tables"


def write_report(runs: Sequence[Union[str, Path]], out: Union[str, Path], page: Size) -> list[str]:
    """Turn workflow folders into a report; returns the names of the files in ``out``.

    ``report.html``, ``report.md``, ``results.csv``, ``significance.csv``, ``densities.csv``,
    ``overlaps.csv``, ``tables/`` (Markdown, CSV, LaTeX) and ``figures/`` (PDF, SVG, PNG). Files
    of an earlier report are replaced. The runs are only read.

    Raises:
        LotteryError: a run that cannot be read, runs that contradict each other or must not
            share a table, published figures that are not known, ``out`` that cannot be
            written. Nothing has been written then, but for a full disk.
    """
    target = Path(out)
    found = _read(runs, target)
    groups = gather(found)
    if not any(group.tables for group in groups):
        raise LotteryError(
            f"{', '.join(map(str, runs))}: no cell has a score yet; let fairseq-lottery run go on"
        )
    published = beside(groups)
    masks = [look(group) if group.rows == WEIGHTS else Masks() for group in groups]
    made = [section(*each, page) for each in zip(groups, published, masks)]

    one = len({group.number for group in groups}) == 1
    title = groups[0].recipe_title if one else "Lottery tickets: several configurations"
    blocks: list[Block] = [Heading(1, title), *_introduction(groups, found)]
    for each in made:
        if len(made) > 1:
            blocks.append(Heading(2, each.group.title))
        blocks += each.blocks
    blocks += [Heading(2, "Versions"), Text(_versions())]

    files: dict[str, Union[str, bytes]] = {}
    for block in blocks:
        if isinstance(block, Table):
            notes = "".join(f"- {markdown_text(note)}\n" for note in block.notes)
            caption = markdown_text(block.caption)
            files[f"{TABLES}/{block.slug}.md"] = f"{caption}\n\n{markdown(block)}\n{notes}"
            files[f"{TABLES}/{block.slug}.csv"] = comma_separated(block)
            files[f"{TABLES}/{block.slug}.tex"] = latex(block)
        elif isinstance(block, Drawing):
            for ending, content in block.files.items():
                files[f"{FIGURES}/{block.slug}.{ending}"] = content
    files["results.csv"] = results_csv(groups)
    comparisons = [(each.group.title, test) for each in made for test in each.comparisons]
    if comparisons:
        files["significance.csv"] = comparisons_csv(comparisons)
    looked = list(zip(groups, masks))
    if any(each.densities for each in masks):
        files["densities.csv"] = densities_csv(looked)
    if any(each.overlaps for each in masks):
        files["overlaps.csv"] = overlaps_csv(looked)
    files["report.md"] = as_markdown(blocks, FIGURES)
    files["report.html"] = as_html(title, blocks)
    _write(target, files)
    return list(files)


def _read(folders: Sequence[Union[str, Path]], out: Path) -> list[Run]:
    seen: dict[Path, str] = {}
    for folder in folders:
        place = Path(folder).resolve()
        if place in seen:
            raise LotteryError(f"{folder} is the same folder as {seen[place]}; name it once")
        if place == out.resolve():
            raise LotteryError(f"--out {out} is one of the runs, which are only read; name another")
        seen[place] = str(folder)
    return [read_run(folder) for folder in folders]


def _introduction(groups: Sequence[Group], runs: Sequence[Run]) -> list[Block]:
    blocks: list[Block] = []
    recipes = list({group.number: group for group in groups}.values())
    if len(recipes) > 1:
        blocks.append(
            Text(
                f"{len(runs)} runs of {len(recipes)} recipes. Runs of different recipes do not"
                " share a table; this is what tells the recipes apart:"
            )
        )
        entries = [f"{each.recipe_title}: {_telling(each, recipes)}" for each in recipes]
        blocks.append(Points(entries))
    if len(recipes) < len(groups):
        titles = ", ".join(dict.fromkeys(group.words.title for group in groups))
        blocks.append(
            Text(
                "Techniques whose shares are of different things never share a table, a plot or a"
                f" test: they have sections of their own ({titles}), each with the dense model."
            )
        )
    text = "A difference is called one only where a test finds it."
    if any(group.rows == WEIGHTS for group in groups):
        text += (
            " Sparsity is the share of the prunable weights that is removed; each table says which"
            " weights these are."
        )
    blocks.append(Text(text))
    return blocks


def _telling(group: Group, groups: Sequence[Group]) -> str:
    keys = dict.fromkeys(key for each in groups for key in each.recipe)
    telling = [k for k in keys if len({repr(each.recipe.get(k)) for each in groups}) > 1]
    entries = [f"{key} {group.recipe.get(key, 'not stated')}" for key in telling]
    return ", ".join(entries) or f"compared with {group.published or 'no published figures'}"


def _versions() -> str:
    found = [f"fairseq_lottery {fairseq_lottery.__version__}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return f"This report was made with {', '.join(found)}; each run signature has its own."


def _write(out: Path, files: dict[str, Union[str, bytes]]) -> None:
    for folder in (out, out / TABLES, out / FIGURES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LotteryError(f"{folder} cannot be made: {error.strerror or error}") from error
    for name, content in files.items():
        with replacing(out / name) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
