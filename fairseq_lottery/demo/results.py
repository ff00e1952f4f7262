"""The results of a finished demo: every number with what it was made by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import fairseq_lottery
from fairseq_lottery.demo.measure import (
    DENOMINATOR,
    Zeros,
    bleu,
    count_zeros,
    p_value,
    read_hypotheses,
    read_references,
)
from fairseq_lottery.demo.plan import PARTS, SPARSITIES, Recipe, Run, runs
from fairseq_lottery.demo.stages import Stage
from fairseq_lottery.demo.stamps import read_stamp

PACKAGES = ("torch", "fairseq", "fairseq-fixed", "sacrebleu", "sentencepiece", "numpy")
CHANCE = 0.05


@dataclass(frozen=True)
class Result:
    """What was measured of one run."""

    run: Run
    bleu: float
    signature: str
    zeros: Zeros
    hypotheses: list[str]


@dataclass(frozen=True)
class Place:
    """A method's place at one sparsity; ``p`` tests it against the place before."""

    method: str
    bleu: float
    p: float | None


def measure_runs(out: Path) -> list[Result]:
    """Measure every run, in the order of the plan."""
    references = read_references(out / "text" / "test.de")
    results = []
    for run in runs():
        translations = out / "translations" / run.name / "generate-test.txt"
        hypotheses = read_hypotheses(translations, references)
        score, signature = bleu(hypotheses, references)
        zeros = count_zeros(out / "models" / run.name / "checkpoint_last.pt")
        results.append(Result(run, score, signature, zeros, hypotheses))
    return results


def ranking(results: list[Result], references: list[str], sparsity: int) -> list[Place]:
    """The methods at one sparsity, best first."""
    ranked = sorted((r for r in results if r.run.sparsity == sparsity), key=lambda r: -r.bleu)
    places = [Place(ranked[0].run.method, ranked[0].bleu, None)]
    for better, worse in zip(ranked, ranked[1:]):
        p = p_value(better.hypotheses, worse.hypotheses, references)
        places.append(Place(worse.run.method, worse.bleu, p))
    return places


def rankings(out: Path, results: list[Result]) -> dict[int, list[Place]]:
    """The order of the methods at each sparsity."""
    references = read_references(out / "text" / "test.de")
    return {sparsity: ranking(results, references, sparsity) for sparsity in SPARSITIES}


def order_line(places: list[Place]) -> str:
    """One line: ">" where the test finds a difference, "~" where it finds none."""
    line = places[0].method
    for place in places[1:]:
        different = place.p is not None and place.p < CHANCE
        line += f" {'>' if different else '~'} {place.method}"
    return line


def record(
    out: Path,
    recipe: Recipe,
    stages: tuple[Stage, ...],
    results: list[Result],
    order: dict[int, list[Place]],
    seconds: float,
) -> dict[str, Any]:
    """Everything as JSON: numbers, commands, seeds, versions and times."""
    return {
        "runs": [
            {
                "name": result.run.name,
                "method": result.run.method,
                "sparsity_asked": result.run.sparsity / 100,
                "sparsity": result.zeros.sparsity,
                "zeros": result.zeros.pruned,
                "denominator": result.zeros.prunable,
                "bleu": result.bleu,
            }
            for result in results
        ],
        "order": {str(at): [asdict(place) for place in order[at]] for at in order},
        "denominator": DENOMINATOR,
        "bleu_signature": results[0].signature,
        "significance": f"sacreBLEU's paired bootstrap between neighbours, p < {CHANCE}",
        "seed": recipe.seed,
        "sentences": PARTS,
        "recipe": asdict(recipe),
        "versions": versions(),
        "seconds": round(seconds, 1),
        "stages": {stage.name: read_stamp(out, stage) for stage in stages},
    }


def versions() -> dict[str, str]:
    """The versions of what the numbers depend on, as far as it is installed."""
    found = {"fairseq_lottery": fairseq_lottery.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
