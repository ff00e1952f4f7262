"""The task of a user's own that ``docs/extending.md`` shows: drawn, trained, refused without it."""

import math
import re
import subprocess
from pathlib import Path

import pytest
import toy
from forking import python

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import load_ticket, read_checkpoint

pytest.importorskip("fairseq")

PAGE = Path(__file__).parents[2] / "docs/extending.md"
FLAGS = (
    "--task sentence_prediction_lottery --criterion sentence_prediction --num-classes 2"
    " --init-token 0 --max-positions 64 --arch roberta --encoder-layers 1 --encoder-embed-dim 16"
    " --encoder-ffn-embed-dim 32 --encoder-attention-heads 2 --optimizer masked_adam --lr 1e-3"
    " --batch-size 16 --max-update 5 --num-workers 0 --no-epoch-checkpoints --seed 3"
).split()


def command(folder, *words):
    line = "import sys; from fairseq_lottery.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [python(), "-c", line, *words], cwd=folder, env=toy.alone(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_task_of_the_page_trains_a_classifier_under_a_ticket(tmp_path):
    code = re.findall(r"^```python\n(# my_tasks/.*?)^```$", PAGE.read_text(), re.M | re.S)
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "my_tasks/__init__.py").write_text(*code)
    toy.write_text(tmp_path)
    for split in ("train", "valid"):
        lengths = [len(line.split()) for line in (tmp_path / f"{split}.en").open()]
        (tmp_path / f"{split}.label").write_text("".join(f"{n % 2}\n" for n in lengths))
    for name, end in (("input0", "en"), ("label", "label")):
        files = [x for s in ("train", "valid") for x in (f"--{s}pref", f"{s}.{end}")]
        flags = ["--only-source", *files, "--destdir", f"data/{name}"]
        toy.call("fairseq_cli.preprocess", flags, tmp_path).ok()
    train = ["data", "--user-dir", "my_tasks", *FLAGS]
    dense = ["--save-dir", "dense", "--snapshot-updates", "0"]
    toy.call("fairseq_cli.train", [*train, *dense], tmp_path).ok()

    files = [
        "--mask-from",
        "dense/checkpoint_last.pt",
        "--start-from",
        "dense/snapshot_0.safetensors",
    ]
    draw = ["ticket", *files, "--sparsity", "0.5", "--out", "half.safetensors"]
    done = command(tmp_path, *draw)
    assert done.returncode == 2
    assert "has the task 'sentence_prediction', for which no adapter is" in done.stderr
    done = command(tmp_path, *draw, "--user-dir", "my_tasks")
    assert done.returncode == 0, done.stderr
    fresh = [*draw[:-1], "fresh.safetensors", "--reset", "random", "--user-dir", "my_tasks"]
    done = command(tmp_path, *fresh)
    assert done.returncode == 2 and "which the reset does not have" in done.stderr
    with pytest.raises(LotteryError, match="'sentence_prediction'"):
        load_ticket(tmp_path / "half.safetensors")

    half = ["--save-dir", "half", "--ticket", "half.safetensors"]
    log = toy.call("fairseq_cli.train", [*train, *half], tmp_path).ok()
    state = read_checkpoint(tmp_path / "half/checkpoint_last.pt")
    head = "classification_heads.sentence_classification_head.dense.weight"
    share = float((state["model"][head] == 0).float().mean())
    assert state["task_state"]["lottery"]["task"] == "sentence_prediction" and share == 0.5
    done = command(tmp_path, "inspect", "half", "--check", "--user-dir", "my_tasks")
    assert done.returncode == 0, done.stdout + done.stderr

    line = ["heads", "ablate", "half/checkpoint_last.pt", "--out", "effects.json"]
    done = command(tmp_path, *line, "--user-dir", "my_tasks")
    assert done.returncode == 0, done.stderr
    loss = float(re.findall(r"loss of the full model: ([\d.]+);", done.stdout)[0])
    logged = float(re.findall(r"valid on 'valid' subset .*? loss ([\d.]+)", log.out)[-1])
    assert loss / math.log(2) == pytest.approx(logged, abs=6e-4)
