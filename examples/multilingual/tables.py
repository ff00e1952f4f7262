"""Print the results of prunability.sh as Markdown: means and deviations over the seeds of English.

python examples/multilingual/tables.py OUT/TASK
"""

import argparse
import csv
import statistics
from pathlib import Path

LANGUAGES = ("en", "na", "nb", "nc", "sa", "sb", "sc")
SEEDS = (1, 2, 3)


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


def drops(folder):
    """Yield the relative drop in percent by layers, of models fine-tuned on English."""
    yield from head("layers without heads", *LANGUAGES)
    for layers in ("each", "thirds"):
        found = {}
        for seed in SEEDS:
            for one in read(folder / f"en-{seed}" / f"drops-{layers}" / "drops.csv"):
                cell = found.setdefault(one["group"], {}).setdefault(one["language"], [])
                cell.append(100 * float(one["relative_drop"]))
        for group, cells in found.items():
            yield row(group, *(spread(cells[language]) for language in LANGUAGES))


def own_drops(folder):
    """Yield the relative drop in percent of each language in the model fine-tuned on it."""
    yield from head("layers without heads", *LANGUAGES)
    found = {}
    for language in LANGUAGES:
        for one in read(folder / f"{language}-1" / "drops-each" / "drops.csv"):
            if one["language"] == language:
                cells = found.setdefault(one["group"], {})
                cells[language] = [100 * float(one["relative_drop"])]
    for group, cells in found.items():
        yield row(group, *(spread(cells[language]) for language in LANGUAGES))


def tests_of_drops(folder):
    """Yield the tests of drops against the facts: values of the seeds and their p."""
    yield from head(
        "drop of", "fact", "measure", "value", "p of each seed, not corrected", "smallest p"
    )
    found = {}
    for seed in SEEDS:
        for one in read(folder / f"en-{seed}" / "drops-thirds" / "tests.csv"):
            found.setdefault((one["group"], one["column"], one["measure"]), []).append(one)
    for (group, column, measure), rows in found.items():
        yield row(group, column, measure, *tested(rows))


def tests_of_similarity(folders):
    """Yield the tests of similarity against the facts.

    Args:
        folders: title -> the folders with its tables, one for each seed.
    """
    yield from head("similarity of", "fact", "value", "p of each seed, not corrected", "smallest p")
    for title, paths in folders.items():
        found = {}
        for path in paths:
            for one in read(path / "tests.csv"):
                given = f" given {one['given']}" if one.get("given") else ""
                found.setdefault(one["column"] + given, []).append(one)
        for column, rows in found.items():
            yield row(title, column, *tested(rows))


def tested(rows):
    """Return cells of a test that was made once for each seed."""
    smallest = {one["smallest_p"] for one in rows if one["smallest_p"]}
    return (
        spread([one["value"] for one in rows], 2),
        ", ".join(f"{float(one['p']):.2f}" if one["p"] else "–" for one in rows),
        ", ".join(f"{float(value):.3f}" for value in sorted(smallest)) or "–",
    )


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
    masks = {score: [folder / f"masks-{score}"] for score in ("magnitude", "distance")}
    yield "Accuracy on the test set (English: three seeds)", accuracies(folder)
    yield "Relative drop, fine-tuned on English", drops(folder)
    yield "Relative drop, fine-tuned on the language, one seed", own_drops(folder)
    yield "Tests of the relative drops", tests_of_drops(folder)
    yield "Rank correlation of importance", square(importance, "spearman")
    for score, paths in masks.items():
        yield f"Overlap of masks by {score}", square(paths, "above_chance", 3)
        seeds = [folder / f"seeds-{score}"]
        yield f"Overlap of masks by {score}, seeds of English", square(seeds, "above_chance", 3)
    yield (
        "Tests of the similarities",
        tests_of_similarity({"importance": importance, **{f"masks by {s}": p for s, p in
                                                          masks.items()}}),
    )  # fmt: skip
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
