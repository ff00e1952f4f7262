"""First stage of ``demo --kind languages``: write parallel text, documents, examples and tables."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from fairseq_lottery.demo.languages.corpora import CODES, TASKS, documents, examples, parallel
from fairseq_lottery.demo.languages.language_table import size_of, table
from fairseq_lottery.demo.languages.pair_stage import pairs
from fairseq_lottery.demo.text_files import (
    TABLE,
    Example,
    sizes_of,
    write_documents,
    write_examples,
    write_lines,
    write_rows,
)


def main() -> None:
    """Write parallel/PART.PAIR.LANGUAGE, pretrain, tasks/TASK/LANGUAGE and two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--sentences", nargs="+", required=True, metavar="PART=SENTENCES")
    parser.add_argument("--documents", nargs="+", required=True, metavar="PART=DOCUMENTS")
    parser.add_argument("--examples", nargs="+", required=True, metavar="PART=EXAMPLES")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sentences, sizes = sizes_of(args.sentences), sizes_of(args.documents)
    write_documents(args.out, documents(args.seed, sum(sizes.values())), sizes)
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part, languages in parallel(args.seed, sentences):
        for code, text in languages.items():
            texts[part, code].append(text)
    (args.out / "parallel").mkdir()
    for source, target, parts in pairs():
        for part in parts:
            lines = len(texts[part, target])
            size = size_of(target, lines) if part == "train" else lines
            for code in (source, target):
                path = args.out / "parallel" / f"{part}.{source}-{target}.{code}"
                write_lines(path, texts[part, code][:size])
    rows = [("task", "kind", "labels", "metric")]
    for task, (labels, _) in TASKS.items():
        drawn: dict[tuple[str, str], list[Example]] = defaultdict(list)
        for part, same in examples(task, args.seed, sizes_of(args.examples)):
            for code, example in same.items():
                drawn[code, part].append(example)
        for (code, part), written in drawn.items():
            write_examples(args.out / "tasks" / task / code, part, written, labels)
        kind = "pair" if len(written[0].texts) == 2 else "sentence"
        rows += [(f"{task}/{code}", kind, ",".join(labels), "accuracy") for code in CODES]
    write_rows(args.out / TABLE, rows)
    write_rows(args.out / "languages.tsv", table(sentences["train"]))
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
