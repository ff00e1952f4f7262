"""Third stage: convert the examples of classification tasks with fairseq-preprocess.

It runs in one process for all folders, because importing fairseq takes longer than converting.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

from fairseq import options
from fairseq_cli import preprocess

from fairseq_lottery.demo.text_files import TABLE, write_lines

PARTS = ("train", "valid", "test")


def main() -> None:
    """Write NAME/{input0,input1,label} of each task in the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--subwords", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with open(args.text / TABLE, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    for row in rows:
        inputs, labels = (folder / "tasks" / row["task"] for folder in (args.subwords, args.text))
        target = args.out / row["task"]
        for column in ("input0", "input1"):
            if (inputs / f"train.{column}").is_file():
                _convert(inputs, column, target / column, args.subwords / "dict.txt")
        if row["labels"] == "-":
            (target / "label").mkdir()
            for part in PARTS:
                shutil.copy(labels / f"{part}.label", target / "label")
        else:
            numbers = args.out / "dict.txt"
            write_lines(numbers, (f"{n} 1" for n in range(len(row["labels"].split(",")))))
            _convert(labels, "label", target / "label", numbers)
            numbers.unlink()
    print(f"wrote {args.out}")


def _convert(folder: Path, column: str, target: Path, dictionary: Path) -> None:
    flags = ["--only-source", "--srcdict", str(dictionary), "--destdir", str(target)]
    for part in PARTS:
        flags += [f"--{part}pref", str(folder / f"{part}.{column}")]
    preprocess.main(options.get_preprocessing_parser().parse_args(flags))


if __name__ == "__main__":
    main()
