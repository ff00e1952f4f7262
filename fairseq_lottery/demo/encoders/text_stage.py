"""First stage of ``demo --kind encoders``: write documents, examples and a table of the tasks."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_lottery.demo.encoders.documents import documents
from fairseq_lottery.demo.encoders.task_table import TASKS, draw_parts
from fairseq_lottery.demo.text_files import (
    TABLE,
    sizes_of,
    write_documents,
    write_examples,
    write_rows,
)


def main() -> None:
    """Write pretrain/PART.txt, tasks/NAME/PART.{input0,input1,label} and tasks.tsv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--documents", nargs="+", required=True, metavar="PART=DOCUMENTS")
    parser.add_argument("--examples", nargs="+", required=True, metavar="PART=EXAMPLES")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sizes = sizes_of(args.documents)
    write_documents(args.out, documents(args.seed, sum(sizes.values())), sizes)
    for name, task in TASKS.items():
        for part, examples in draw_parts(name, args.seed, sizes_of(args.examples)).items():
            write_examples(args.out / "tasks" / name, part, examples, task.labels)
    write_rows(
        args.out / TABLE,
        [
            ("task", "kind", "labels", "metric"),
            *(
                (name, task.kind, ",".join(task.labels) or "-", task.metric)
                for name, task in TASKS.items()
            ),
        ],
    )
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
