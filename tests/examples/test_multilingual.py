"""prunability.sh with programs that only record their arguments, and its tables by hand."""

import collections
import csv
import importlib
import subprocess
from pathlib import Path

import pytest
from multilingual import tables

from fairseq_lottery.cli.main import build_parser

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CODES = ("en", "na", "nb", "nc", "sa", "sb", "sc")
MODELS = ["en-1", "en-2", "en-3", *(f"{code}-1" for code in CODES[1:])]
PROGRAM = """#!/bin/sh
[ "$1" = user-dir ] && { echo /plugin; exit; }
printf '%s\\t' "$(basename $0)" "$@" >>"$(dirname $0)/calls"
echo >>"$(dirname $0)/calls"
for word; do
    case "$last" in --out|--save-dir) target=$word;; esac
    last=$word
done
case "$(basename $0) $1 $2" in
*fairseq-train*) mkdir -p "$target" && touch "$target/checkpoint_last.pt";;
*demo*)
    mkdir -p "$target/text"
    printf 'task\\tkind\\tlabels\\tmetric\\ntense/en\\tsentence\\ta,b,c\\taccuracy\\n' \\
        >"$target/text/tasks.tsv"
    echo "language family order affixes size sentences
en english SVO suffixes large 9
na north SVO suffixes large 9" | tr ' ' '\\t' >"$target/text/languages.tsv";;
*) touch "$target";;
esac
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Runs the script with recording programs; returns the words of each call."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("fairseq-train", "fairseq-lottery"):
        (programs / name).write_text(PROGRAM)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def run():
        script = EXAMPLES / "multilingual/prunability.sh"
        subprocess.run([script, tmp_path / "out"], check=True)
        return [line.split("\t")[:-1] for line in (programs / "calls").read_text().splitlines()]

    return run


def test_the_steps_of_the_study(calls, tmp_path):
    found = calls()
    assert calls() == found, "nothing runs again"
    trainings = [one for one in found if one[0] == "fairseq-train"]
    saved = [Path(one[one.index("--save-dir") + 1]).name for one in trainings]
    assert saved == ["pretrained", *MODELS]
    assert all(one[one.index("--num-classes") + 1] == "3" for one in trainings[1:])
    steps = collections.Counter(" ".join(one[1:3]) if one[1] in ("languages", "heads") else one[1]
                                for one in found if one[0] == "fairseq-lottery")  # fmt: skip
    assert steps == {
        "demo": 1, "languages drops": 9 * 2, "heads importance": 3 * 7, "record": 3 * 2,
        "languages changes": 3, "ticket": 2 * 9, "languages similarity": 3 + 2 * 2,
    }  # fmt: skip
    assert (tmp_path / "out/tense/facts.tsv").read_text().splitlines() == [
        "language\tfamily\torder\tsentences", "en\t-\t-\t-", "na\tnorth\tSVO\t9",
    ]  # fmt: skip
    assert (tmp_path / "out/tense/models.tsv").read_text().splitlines() == [
        "language\ttuned", *(f"{model}\t{model[:2]}" for model in MODELS)
    ]  # fmt: skip
    similar = [one for one in found if one[1:3] == ["languages", "similarity"]]
    models = [word.partition("=")[0] for word in similar[-1] if "=" in word]
    assert models == MODELS, "all models of both scores"
    drops = next(one for one in found if "drops" in one)
    assert [word for word in drops if "=" in word] == [f"{code}=test_{code}" for code in CODES]


def test_every_command_of_the_study_is_known(calls):
    options = pytest.importorskip("fairseq.options")
    importlib.import_module("fairseq_lottery.plugin")
    for program, *words in calls():
        if program == "fairseq-lottery":
            build_parser().parse_args(words)
        else:
            place = words.index("--user-dir")
            del words[place : place + 2]
            args = options.parse_args_and_arch(options.get_training_parser(), words)
            assert args.encoder_layers == 4 and args.max_update >= 300


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def test_means_and_deviations_over_seeds(tmp_path):
    for model in MODELS:
        seed = int(model[-1])
        for layers, group in (("each", "layer 1"), ("thirds", "bottom")):
            rows = [
                {"language": code, "group": group, "full": 80 + seed, "value": 80 - 4 * seed,
                 "relative_drop": seed / 10}
                for code in CODES
            ]  # fmt: skip
            write(tmp_path / model / f"drops-{layers}" / "drops.csv", rows)
    lines = list(tables.accuracies(tmp_path))
    assert lines[0] == "| fine-tuned on | en | na | nb | nc | sa | sb | sc |"
    assert lines[2] == f"| en {'| 82.0 ± 1.0 ' * 7}|"
    assert lines[3:] == [f"| {code} {'| 81.0 ' * 7}|" for code in CODES[1:]]
    english = dict.fromkeys(CODES, MODELS[:3])
    assert list(tables.drops(tmp_path, english, ("each", "thirds")))[2:] == [
        f"| layer 1 {'| 20.0 ± 10.0 ' * 7}|", f"| bottom {'| 20.0 ± 10.0 ' * 7}|",
    ]  # fmt: skip
    own = {code: [f"{code}-1"] for code in CODES}
    assert list(tables.drops(tmp_path, own, ["each"]))[2:] == [f"| layer 1 {'| 10.0 ' * 7}|"]
    # 5 of 31, 10 of 32 and 15 of 33 points above 50; English is too close to 76
    guessing = {**dict.fromkeys(CODES, (50.0, 2.0)), "en": (76.0, 5.0)}
    assert list(tables.drops(tmp_path, english, ["each"], guessing))[2:] == [
        f"| layer 1 | – {'| 30.9 ± 14.7 ' * 6}|"
    ]


def test_guessing_is_that_of_the_most_frequent_class(tmp_path):
    (tmp_path / "test.label").write_text("1\n0\n1\n2\n")
    assert tables.guess(tmp_path / "test.label") == (50.0, 25.0)


def test_tests_of_each_seed_are_corrected_for_all_of_the_table(tmp_path):
    test = {"column": "family", "given": "", "smallest_p": 0.1}
    for number, (value, p) in enumerate([(0.5, 0.1), (0.25, 0.4)]):
        other = {**test, "given": "order", "value": "", "p": "", "smallest_p": ""}
        write(tmp_path / str(number) / "tests.csv", [{**test, "value": value, "p": p}, other])
    paths = [tmp_path / "0", tmp_path / "1"]
    assert list(tables.tests_of_similarity({"masks": paths, "more": paths[:1]}))[2:] == [
        # three tests: twice 0.1 and once 0.4
        "| masks | family | 0.38 ± 0.18 | 0.10, 0.40 | 0.30, 0.40 | 0.100 |",
        "| masks | family given order | – | –, – | –, – | – |",
        "| more | family | 0.50 | 0.10 | 0.30 | 0.100 |",
        "| more | family given order | – | – | – | – |",
    ]


def test_seeds_of_a_language_beside_other_languages(tmp_path):
    overlaps = {("en-1", "en-2"): 0.5, ("en-1", "na-1"): 0.25, ("en-2", "na-1"): 0.125}
    rows = [
        {"language": first, "other": second, "matrix": matrix, "above_chance": overlap / scale}
        for (first, second), overlap in overlaps.items()
        for matrix, scale in (("fc1", 2), ("all", 1))
    ]
    write(tmp_path / "similarity.csv", rows)
    test = {"column": "tuned", "value": 0.3125, "p": 0.02, "smallest_p": 0.02}
    write(tmp_path / "tests.csv", [test])
    assert list(tables.seeds_and_languages({"distance": tmp_path}))[2:] == [
        "| distance | 0.500 | 0.250 | 0.125 | 0.31 | 0.02 | 0.02 | 0.020 |"
    ]


def test_a_square_of_pairs(tmp_path):
    rows = [
        {"language": "aa", "other": "bb", "matrix": "all", "above_chance": 0.5},
        {"language": "aa", "other": "bb", "matrix": "fc1", "above_chance": 0.9},
        {"language": "aa", "other": "cc", "matrix": "all", "above_chance": 0.25},
    ]
    write(tmp_path / "similarity.csv", rows)
    assert list(tables.square([tmp_path], "above_chance"))[2:] == [
        "| aa | – | 0.50 | 0.25 |", "| bb | 0.50 | – | – |", "| cc | 0.25 | – | – |",
    ]  # fmt: skip
