"""Fourth stage of ``demo --kind languages``: collect the examples of all languages by task.

A subset of fairseq is a part of one folder. So one folder of each task has the parts of every
language, such as ``test_na``, and a model that was fine-tuned in one language is evaluated in all.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from fairseq_lottery.demo.languages.corpora import CODES, TASKS

PARTS = ("valid", "test")


def main() -> None:
    """Copy TASK/LANGUAGE/{input0,input1,label}/PART.* to TASK/.../PART_LANGUAGE.*."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for task in TASKS:
        for code in CODES:
            for column in sorted(path for path in (args.tasks / task / code).iterdir()):
                target = args.out / task / column.name
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(column / "dict.txt", target / "dict.txt")
                for part in PARTS:
                    for ending in ("bin", "idx"):
                        shutil.copyfile(
                            column / f"{part}.{ending}", target / f"{part}_{code}.{ending}"
                        )
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
