"""Fine-tune the demo's tasks from pre-trained and from new weights, and compare the scores.

    python examples/encoders/compare.py OUT [--tasks NAME ...] [--seeds N ...] [--updates N]

OUT is the folder of pretrain.sh. Each training writes a log below OUT/fine-tuned; trainings whose
log is complete are not repeated. The scores are those of the test set after the last update:
nothing is selected on it.
"""

import argparse
import csv
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

#: metric of the task -> name in fairseq's log, and the flags of the criterion
METRICS = {
    "accuracy": ("accuracy", []),
    "mcc": ("mcc", ["--report-mcc"]),
    "f1": ("f1", ["--report-acc-and-f1"]),
    "pearson": ("pearson", ["--report-pearson-and-spearman", "--regression-target"]),
}
FLAGS = """
    --task sentence_prediction --criterion sentence_prediction
    --init-token 0 --separator-token 2 --max-positions 256
    --arch roberta --encoder-layers 4 --encoder-embed-dim 64 --encoder-ffn-embed-dim 256
    --encoder-attention-heads 4 --dropout 0.1 --attention-dropout 0.1
    --optimizer adam --adam-betas (0.9,0.98) --clip-norm 1.0
    --lr 0.001 --lr-scheduler polynomial_decay --warmup-updates 60
    --batch-size 32
    --valid-subset test --validate-interval 1000 --required-batch-size-multiple 1
    --no-save --num-workers 0 --log-format simple --log-interval 100
"""
STARTS = ("pretrained", "scratch")


def command(out, row, start, seed, updates):
    """Return the command that fine-tunes a task of the table."""
    labels = 1 if row["labels"] == "-" else len(row["labels"].split(","))
    user_dir = subprocess.run(
        ["fairseq-lottery", "user-dir"], check=True, capture_output=True, text=True
    ).stdout.strip()
    flags = [*FLAGS.split(), *METRICS[row["metric"]][1]]
    flags += ["--num-classes", str(labels), "--seed", str(seed), "--user-dir", user_dir]
    flags += ["--total-num-update", str(updates), "--max-update", str(updates)]
    if start == "pretrained":
        flags += ["--finetune-from-model", str(out / "pretrained" / "checkpoint_last.pt")]
    return ["fairseq-train", str(out / "data" / "tasks" / row["task"]), *flags]


def score(log, metric, updates):
    """Return the score in percent that the log ends with, or None if the training did not end."""
    lines = [line for line in log.read_text().splitlines() if "| valid on 'test' subset |" in line]
    found = re.search(rf"\| {METRICS[metric][0]} (\S+) ", lines[-1]) if lines else None
    if found is None or f"num_updates {updates}" not in lines[-1]:
        return None
    return float(found.group(1))


def fine_tune(out, row, start, seed, updates):
    """Return the score of a training, which runs unless its log is complete."""
    log = out / "fine-tuned" / f"{row['task']}-{start}-{seed}-{updates}.log"
    if not log.is_file() or score(log, row["metric"], updates) is None:
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        with open(log, "w") as file:
            subprocess.run(
                command(out, row, start, seed, updates), stdout=file, stderr=subprocess.STDOUT,
                env=environment, check=False,
            )  # fmt: skip
    found = score(log, row["metric"], updates)
    if found is None:
        sys.exit(f"{log} has no score of update {updates}; read its last lines")
    return found


def line(row, scores):
    """Return a line of the table: means, deviations, and whether the difference exceeds both."""
    means = {start: statistics.mean(scores[start]) for start in STARTS}
    deviations = {
        start: statistics.stdev(scores[start]) if len(scores[start]) > 1 else float("nan")
        for start in STARTS
    }
    difference = means["pretrained"] - means["scratch"]
    exceeds = "yes" if difference > max(deviations.values()) else "no"
    cells = [f"{means[start]:.1f} ± {deviations[start]:.1f}" for start in STARTS]
    return (
        f"| {row['task']} | {row['metric']} | {' | '.join(cells)} | {difference:+.1f} | {exceeds} |"
    )


def main():
    """Print the table as Markdown, line by line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--updates", type=int, default=320)
    args = parser.parse_args()
    with open(args.out / "data" / "text" / "tasks.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    print("| task | metric | pre-trained | from scratch | difference | more than the deviation |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        if not args.tasks or row["task"] in args.tasks:
            scores = {
                start: [fine_tune(args.out, row, start, seed, args.updates) for seed in args.seeds]
                for start in STARTS
            }
            print(line(row, scores), flush=True)


if __name__ == "__main__":
    main()
