"""Whole workflows on the toy task: configurations, drivers as processes, what they leave."""

import json
import subprocess
import time
from pathlib import Path

from forking import python
from toy import MODEL, alone

ROOT = Path(__file__).resolve().parents[1]
TRAIN = (
    "--source-lang en --target-lang de --optimizer masked_adam --adam-betas '(0.9, 0.98)'"
    " --lr 3e-3 --lr-scheduler inverse_sqrt --warmup-updates 10 --clip-norm 1.0"
    " --criterion label_smoothed_cross_entropy_lottery --label-smoothing 0.1"
    " --max-tokens 500 --num-workers 0 --log-interval 10 --log-format simple"
    " --validate-interval-updates 10 --save-interval-updates 10"
)
ALONE = alone(OMP_NUM_THREADS="1")


def configure(folder, data, *, updates=30, extra_flags="", **keys):
    """Write a configuration; ``keys`` replace or add its top level."""
    content = {
        "data": str(data),
        "references": str(data.parent / "test.de"),
        "out": "runs",
        "train": f"{' '.join(MODEL)} {TRAIN} --max-update {updates} {extra_flags}",
        "techniques": ["slt", "mp"],
        "sparsities": [0.5],
        "rewind": 5,
        "evaluate": [{"checkpoint": "best", "beam": 2}],
        "metrics": ["BLEU"],
        "generate": "--max-len-b 20",  # sentences have 9 words at most; these models end none
        "resources": {"gpus": 0},
        **keys,
    }
    content = {name: value for name, value in content.items() if value is not None}
    content.setdefault("rounds", content["sparsities"])  # short plans: a round for each row
    path = folder / "toy.yaml"
    path.write_text(json.dumps(content, indent=1))  # which is YAML too
    return path


def command(*words):
    return [python(), "-m", "fairseq_lottery.cli.main", "run", *map(str, words)]


def run(*words, code=0):
    done = subprocess.run(command(*words), env=ALONE, capture_output=True, text=True)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def pending(*words):
    return json.loads(run(*words, "-n", "--json").stdout)["pending"]


def folder_of(configuration, cell):
    plan = json.loads(run(configuration, "-n", "--json").stdout)
    return next(c["training"] for c in plan["plan"] if c["cell"] == cell)


def processes_in(folder):
    """Processes that work in a folder: a workflow's engine, stages and trainings."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if place.resolve() == folder.resolve():
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds=120):
    for _ in range(seconds * 20):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def scores(out, metric="BLEU"):
    rows = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    scored = [row for row in rows if row["kind"] == "score" and row["metric"] == metric]
    return {(row["technique"], row["sparsity"]): row for row in scored}


def weights(path):
    from fairseq_lottery.formats import read_checkpoint

    return read_checkpoint(path)["model"]
