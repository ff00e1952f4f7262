"""Translations with and without ``--sparse-decode``, for each option of fairseq-generate.

    python benchmarks/exactness.py DATA CHECKPOINT [CHECKPOINT ...] [--subset test] [--json]

DATA is a folder of fairseq-preprocess. The first checkpoint translates with every option, and all
of them together are an ensemble. All hypotheses of all sentences are compared: their tokens, and
their scores where the tokens are equal.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from common import report

import fairseq_lottery

#: title -> flags of fairseq-generate; --left-pad-source switches the default off
OPTIONS = {
    "beam 1": "--beam 1",
    "beam 5": "--beam 5",
    "beam 10": "--beam 10 --nbest 10",
    "one sentence a batch": "--beam 5 --batch-size 1",
    "lenpen 0.6": "--beam 4 --lenpen 0.6",
    "unnormalised": "--beam 5 --unnormalized",
    "max-len 0.5 x + 3": "--beam 5 --max-len-a 0.5 --max-len-b 3",
    "min-len 12": "--beam 5 --min-len 12",
    "match-source-len": "--beam 5 --match-source-len",
    "unkpen -2": "--beam 5 --unkpen -2",
    "temperature 0.7": "--beam 5 --temperature 0.7",
    "prefix of 2 tokens": "--beam 5 --prefix-size 2",
    "left-padded targets": "--beam 5 --left-pad-target",
    "right-padded sources": "--beam 5 --left-pad-source",
    "alignments": "--beam 5 --print-alignment hard",
    "scores of references": "--score-reference",
    "sampling": "--beam 3 --nbest 3 --sampling --sampling-topk 10 --seed 3",
}


def generate(args, paths, flags):
    """Return (sentence, rank) -> line of the hypothesis without its score, and its score."""
    words = [
        *(sys.executable, "-m", "fairseq_cli.generate", args.data, "--user-dir", args.user_dir),
        *("--task", "translation_lottery", "--path", ":".join(paths), "--cpu"),
        *("--gen-subset", args.subset, "--required-batch-size-multiple", "1"),
        *("--max-tokens", "4000", "--nbest", "5" if "--beam 5" in " ".join(flags) else "1"),
        *flags,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    hypotheses, ranks = {}, {}
    for line in done.stdout.splitlines():
        kind, _, rest = line.partition("-")
        if kind in ("H", "A"):
            number, *fields = rest.split("\t")
            rank = ranks[kind, number] = ranks.get((kind, number), -1) + 1
            score = float(fields[0]) if kind == "H" else 0.0
            hypotheses[kind, number, rank] = (fields[-1], score)
    return hypotheses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--subset", default="test")
    parser.add_argument("--only", nargs="+", metavar="TITLE", help="titles of options to compare")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.user_dir = str(Path(fairseq_lottery.__file__).parent)
    cases = {title: (args.checkpoints[:1], flags) for title, flags in OPTIONS.items()}
    if args.checkpoints[1:]:
        cases["ensemble"] = (args.checkpoints, "--beam 5")
    cases = {title: case for title, case in cases.items() if title in (args.only or cases)}
    rows, record = [], []
    for title, (paths, flags) in cases.items():
        plain, fast = (
            generate(args, paths, [*flags.split(), *more]) for more in ([], ["--sparse-decode"])
        )
        if plain.keys() != fast.keys() or not plain:
            raise SystemExit(f"{title}: {len(plain)} lines and {len(fast)} lines")
        same = {key for key in plain if plain[key][0] == fast[key][0]}
        worst = max(abs(plain[key][1] - fast[key][1]) for key in same)
        rows.append([title, len(plain), len(plain) - len(same), f"{worst:.1e}"])
        record.append({"option": title, "lines": len(plain), "same": len(same), "worst": worst})
        print(*rows[-1], sep="\t", file=sys.stderr, flush=True)
    header = ["option", "hypotheses", "different", "largest difference of scores"]
    report(
        "Translations with and without --sparse-decode",
        header,
        rows,
        {"options": record},
        args.json,
    )


if __name__ == "__main__":
    main()
