"""Build a report: read all runs, validate them, then write all files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Union

import fairseq_lottery
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.records.plan import WEIGHTS
from fairseq_lottery.report.data_set_sections import data_set_sections
from fairseq_lottery.report.introduction import how_to_read, outcomes
from fairseq_lottery.report.pages import (
    FIGURES,
    TABLES,
    Block,
    Contents,
    Files,
    Heading,
    Points,
    as_html,
    as_markdown,
)
from fairseq_lottery.report.plots.drawings import Drawing, Size
from fairseq_lottery.report.reading.families import title_of_plan
from fairseq_lottery.report.reading.mask_tables import Masks, read_masks
from fairseq_lottery.report.reading.recipe_groups import Group, gather
from fairseq_lottery.report.reading.records import Run, read_run
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.sections import section
from fairseq_lottery.report.statistics.bootstrap import within_seeds
from fairseq_lottery.report.statistics.significance import Comparison, across_seeds
from fairseq_lottery.report.tables.published_comparison import beside
from fairseq_lottery.report.tables.table_formats import Table, comma_separated, latex
from fairseq_lottery.report.tables.tidy_results import (
    comparisons_csv,
    densities_csv,
    overlaps_csv,
    results_csv,
)

PACKAGES = ("torch", "fairseq", "fairseq-fixed", "sacrebleu", "scipy", "numpy", "matplotlib")


def write_report(runs: Sequence[Union[str, Path]], out: Union[str, Path], page: Size) -> list[str]:
    """Write a report of workflow folders, and return the names of its files in ``out``.

    The files are ``report.html``, ``report.md``, ``results.csv``, ``significance.csv``,
    ``densities.csv``, ``overlaps.csv``, ``tables/`` (CSV, LaTeX) and ``figures/`` (PDF, SVG,
    PNG). They overwrite an earlier report. The runs are not changed.

    Raises:
        LotteryError: a run cannot be read, runs contradict each other or must not share a
            table, published figures are unknown, or ``out`` cannot be written. Then nothing has
            been written, unless the disk is full.
    """
    target = Path(out)
    groups = gather(_read(runs, target))
    if not any(group.tables for group in groups):
        raise LotteryError(
            f"{', '.join(map(str, runs))}: no cell has a score yet; resume fairseq-lottery run"
        )
    published = beside(groups)
    masks = [read_masks(group) if group.rows == WEIGHTS else Masks() for group in groups]
    tests = [{key: _tests(group, key) for key in group.tables} for group in groups]

    files: dict[str, Union[str, bytes]] = {"results.csv": results_csv(groups)}
    comparisons = [
        (group.title, test)
        for group, group_tests in zip(groups, tests)
        for pairs, _ in group_tests.values()
        for test in pairs
    ]
    masks_of_groups = list(zip(groups, masks))
    if comparisons:
        files["significance.csv"] = comparisons_csv(comparisons)
    if any(each.densities for each in masks):
        files["densities.csv"] = densities_csv(masks_of_groups)
    if any(each.overlaps for each in masks):
        files["overlaps.csv"] = overlaps_csv(masks_of_groups)

    title = _title(groups)
    blocks: list[Block] = [Heading(1, title), *outcomes(groups, tests), Contents()]
    blocks += how_to_read(groups)
    blocks += data_set_sections(groups, page)
    for each in zip(groups, tests, published, masks):
        blocks += section(*each, page)
    blocks += _provenance(groups, runs, out, page, list(files))
    for block in blocks:
        if isinstance(block, Table):
            files[f"{TABLES}/{block.slug}.csv"] = comma_separated(block)
            files[f"{TABLES}/{block.slug}.tex"] = latex(block)
        elif isinstance(block, Drawing):
            for ending, content in block.files.items():
                files[f"{FIGURES}/{block.slug}.{ending}"] = content
    files["report.md"] = as_markdown(blocks)
    files["report.html"] = as_html(title, blocks)
    _write(target, files)
    return list(files)


def _title(groups: Sequence[Group]) -> str:
    if len({group.number for group in groups}) == 1:
        return groups[0].recipe_title
    return title_of_plan(groups) or "Lottery tickets: several configurations"


def _tests(group: Group, key: Evaluation) -> tuple[list[Comparison], list[str]]:
    within, reasons = within_seeds(group, key)
    return [*within, *across_seeds(group, key)], reasons


def _read(folders: Sequence[Union[str, Path]], out: Path) -> list[Run]:
    seen: dict[Path, str] = {}
    for folder in folders:
        place = Path(folder).resolve()
        if place in seen:
            raise LotteryError(f"{folder} is the same folder as {seen[place]}; give it once")
        if place == out.resolve():
            raise LotteryError(f"--out {out} is also a run to read; give another --out")
        seen[place] = str(folder)
    return [read_run(folder) for folder in folders]


def _provenance(
    groups: Sequence[Group],
    runs: Sequence[Union[str, Path]],
    out: Union[str, Path],
    page: Size,
    files: Sequence[str],
) -> list[Block]:
    """Return the section with date, configurations, command and versions."""
    versions = [f"fairseq_lottery {fairseq_lottery.__version__}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    command = ["fairseq-lottery", "report", *map(str, runs), "--out", str(out)]
    command += ["--width", f"{page.width:.4g}in", "--font-size", f"{page.font:g}"]
    titles = dict.fromkeys(group.recipe_title for group in groups)
    plans = ", ".join(f"`{Path(run) / 'plan.json'}`" for run in runs)
    return [
        Heading(2, "How this report was made"),
        Points(
            [
                f"Date: {datetime.now(timezone.utc):%Y-%m-%d} (UTC).",
                f"Configuration: {'; '.join(titles)}, as planned in {plans}.",
                f"Command: `{shlex.join(command)}`.",
                f"Versions: {', '.join(versions)}; those of a run are in results.csv (`run`).",
            ]
        ),
        Files("All numbers", files),
    ]


def _write(out: Path, files: Mapping[str, Union[str, bytes]]) -> None:
    for folder in (out, out / TABLES, out / FIGURES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise LotteryError(f"folder {folder} cannot be created: {reason}") from error
    for name, content in files.items():
        with replacing(out / name) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
