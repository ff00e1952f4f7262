"""Print the results of prunability.sh as Markdown: means and deviations over the seeds of English.

python examples/multilingual/tables.py OUT/TASK
"""

import argparse
import collections
import csv
import itertools
import math
import statistics
from pathlib import Path

from fairseq_lottery.languages.permutations import holm

LANGUAGES = ("en", "na", "nb", "nc", "sa", "sb", "sc")
SEEDS = (1, 2, 3)
SCORES = ("magnitude", "distance")


def read(path):
    """Return the rows of a CSV file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def spread(values, digits=1):
    """Return mean and sample deviation as text; a dash without values."""
    values = [float(value) for value in values if value not in ("", None)]
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def row(*cells):
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |"


def head(*names):
    """Return the first two rows of a table."""
    return [row(*names), "|" + "---|" * len(names)]


def accuracies(folder):
    """Yield accuracy of each language by the language of the fine-tuning."""
    yield from head("fine-tuned on", *LANGUAGES)
    for tuned in LANGUAGES:
        seeds = SEEDS if tuned == "en" else (1,)
        full = {language: [] for language in LANGUAGES}
        for seed in seeds:
            rows = read(folder / f"{tuned}-{seed}" / "drops-each" / "drops.csv")
            for language, value in {one["language"]: one["full"] for one in rows}.items():
                full[language].append(value)
        yield row(tuned, *(spread(full[language]) for language in LANGUAGES))


def drops(folder, models, layers, guessing=None):
    """Yield the relative drop in percent of each language by the layers without heads.

    Args:
        models: language -> the models that are evaluated on it, one for each seed.
        layers: groups of layers, ``each`` or ``thirds``.
        guessing: see ``relative_drops``.
    """
    yield from head("layers without heads", *LANGUAGES)
    found = {}
    for language, names in models.items():
        for groups, name in itertools.product(layers, names):
            for one in read(folder / name / f"drops-{groups}" / "drops.csv"):
                if one["language"] == language:
                    cells = found.setdefault(one["group"], {language: [] for language in LANGUAGES})
                    cells[language].append(one)
    for group, cells in found.items():
        values = [relative_drops(cells[name], guessing and guessing[name]) for name in LANGUAGES]
        yield row(group, *map(spread, values))


def relative_drops(rows, guessing=None):
    """Return the drop of each seed in percent of the accuracy, or of its distance from chance.

    Args:
        guessing: accuracy of one class for all examples, and its deviation. No drop is returned if
            the accuracy of a seed is within this deviation.
    """
    if guessing is None:
        return [100 * float(one["relative_drop"]) for one in rows]
    chance, deviation = guessing
    accuracy, pruned = ([float(one[name]) for one in rows] for name in ("full", "value"))
    if min(accuracy) <= chance + deviation:
        return []
    return [100 * (a - b) / (a - chance) for a, b in zip(accuracy, pruned)]


def guess(labels):
    """Return accuracy in percent of the most frequent class, and its binomial deviation."""
    words = labels.read_text(encoding="utf-8").split()
    share = max(collections.Counter(words).values()) / len(words)
    return 100 * share, 100 * math.sqrt(share * (1 - share) / len(words))


def chances(guessing):
    """Yield the accuracy of one class for all examples."""
    yield from head("", *LANGUAGES)
    yield row("one class", *(f"{guessing[name][0]:.1f} ± {guessing[name][1]:.1f}" for name in
                             LANGUAGES))  # fmt: skip


def tests_of_drops(folder):
    """Yield the tests of drops against the facts."""
    found = {}
    for seed in SEEDS:
        for one in read(folder / f"en-{seed}" / "drops-thirds" / "tests.csv"):
            found.setdefault((one["group"], one["column"], one["measure"]), []).append(one)
    return tested(("drop of", "fact", "measure"), found)


def tests_of_similarity(folders):
    """Yield the tests of similarity against the facts.

    Args:
        folders: title -> the folders with its tables, one for each seed.
    """
    found = {}
    for title, paths in folders.items():
        for path in paths:
            for one in read(path / "tests.csv"):
                given = f" given {one['given']}" if one.get("given") else ""
                found.setdefault((title, one["column"] + given), []).append(one)
    return tested(("similarity of", "fact"), found)


def tested(names, found):
    """Yield a table of tests, with p-values corrected for all tests of the table (Holm 1979).

    Args:
        names: names of the first columns.
        found: cells of these columns -> the rows of ``tests.csv``, one for each seed.
    """
    yield from head(*names, "value", "p", "p by Holm", "smallest p")
    p_values = [float(one["p"] or "nan") for rows in found.values() for one in rows]
    corrected = iter(holm(p_values))
    for cells, rows in found.items():
        smallest = sorted({float(one["smallest_p"]) for one in rows if one["smallest_p"]})
        yield row(
            *cells,
            spread([one["value"] for one in rows], 2),
            ", ".join(number(one["p"]) for one in rows),
            ", ".join(number(p) for p in itertools.islice(corrected, len(rows))),
            ", ".join(number(value, 3) for value in smallest) or "–",
        )


def number(value, digits=2):
    """Return a number as text; a dash if it is missing or NaN."""
    return "–" if value == "" or math.isnan(float(value)) else f"{float(value):.{digits}f}"


def seeds_and_languages(folders):
    """Yield the similarity of two seeds of one language beside that of two languages.

    Args:
        folders: title -> folder with the similarity of all models, which are named LANGUAGE-SEED.
    """
    kinds = ("one language, two seeds", "two languages, one seed", "two languages, two seeds")
    found = {}
    for title, folder in folders.items():
        pairs = {kind: [] for kind in kinds}
        for one in read(folder / "similarity.csv"):
            if one["matrix"] == "all":
                (first, seed), (second, other) = (one[n].split("-") for n in ("language", "other"))
                kind = kinds[0 if first == second else 1 if seed == other else 2]
                pairs[kind].append(one["above_chance"])
        cells = (title, *(spread(values, 3) for values in pairs.values()))
        found[cells] = read(folder / "tests.csv")
    return tested(("masks by", *kinds), found)


def square(paths, measure, digits=2):
    """Yield a table of similarities of all pairs, the mean over files."""
    found = {}
    for path in paths:
        for one in read(path / "similarity.csv"):
            if (one.get("part") or one["matrix"]) == "all":
                found.setdefault((one["language"], one["other"]), []).append(one[measure])
    names = list(dict.fromkeys(name for pair in found for name in pair))
    yield from head("", *names)
    for one in names:
        cells = [found.get((one, other)) or found.get((other, one)) or () for other in names]
        yield row(one, *(spread(values, digits) for values in cells))


def changes(folder):
    """Yield the change of each layer by fine-tuning on English, and of its attention."""
    measures = ("relative_distance", "cosine", "cka")
    yield from head("layer", "weights", *(name.replace("_", " ") for name in measures))
    found = {}
    for seed in SEEDS:
        for one in read(folder / f"en-{seed}" / "changes" / "changes.csv"):
            found.setdefault((one["group"], one["kind"]), []).append(one)
    for (group, kind), rows in found.items():
        cells = [spread([one[measure] for one in rows], 3) for measure in measures]
        yield row(group, kind, *cells)


def correlations(folder):
    """Yield Spearman's correlation of change and drop over the layers, by language."""
    yield from head("change of attention by", *LANGUAGES)
    found = {}
    for seed in SEEDS:
        for one in read(folder / f"en-{seed}" / "changes" / "correlations.csv"):
            cells = found.setdefault(one["measure"], {})
            cells.setdefault(one["language"], []).append(one["value"])
    for measure, cells in found.items():
        yield row(measure.replace("_", " "), *(spread(cells[name], 2) for name in LANGUAGES))


def tables(folder):
    """Yield title and lines of each table."""
    importance = [folder / f"en-{seed}" / "similarity" for seed in SEEDS]
    masks = {score: folder / f"masks-{score}" for score in SCORES}
    labels = folder.parent / "data" / "text" / "tasks" / folder.name
    guessing = {name: guess(labels / name / "test.label") for name in LANGUAGES}
    english = {name: [f"en-{seed}" for seed in SEEDS] for name in LANGUAGES}
    own = {name: [f"{name}-1"] for name in LANGUAGES}
    yield "Accuracy on the test set (English: three seeds)", accuracies(folder)
    yield "Chance: the most frequent class, and the deviation of guessing", chances(guessing)
    for title, models in (("on English", english), ("on the language, one seed", own)):
        layers = ("each", "thirds") if models is english else ("each",)
        for base, chance in (("the accuracy", None), ("the accuracy above chance", guessing)):
            yield (
                f"Drop relative to {base}, fine-tuned {title}",
                drops(folder, models, layers, chance),
            )
    yield "Tests of the drops relative to the accuracy", tests_of_drops(folder)
    yield "Rank correlation of importance", square(importance, "spearman")
    for score, path in masks.items():
        yield f"Overlap of masks by {score}", square([path], "above_chance", 3)
    yield (
        "Overlap of masks of seeds and of languages, mean and deviation over pairs",
        seeds_and_languages({score: folder / f"models-{score}" for score in SCORES}),
    )
    yield (
        "Tests of the similarities",
        tests_of_similarity(
            {"importance": importance, **{f"masks by {s}": [p] for s, p in masks.items()}}
        ),
    )
    yield "Change by fine-tuning on English", changes(folder)
    yield "Change and drop over the layers", correlations(folder)


def main():
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    for title, lines in tables(args.folder):
        print(f"\n**{title}**\n", *lines, sep="\n")


if __name__ == "__main__":
    main()
