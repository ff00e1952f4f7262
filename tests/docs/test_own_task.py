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
from fairseq_lottery.masks import count_to_prune

pytest.importorskip("fairseq")

PAGE = Path(__file__).parents[2] / "docs/extending.md"
FLAGS = (
    "--task language_modeling_lottery --tokens-per-sample 32 --sample-break-mode eos"
    " --arch transformer_lm --decoder-layers 2 --decoder-embed-dim 16 --decoder-ffn-embed-dim 32"
    " --decoder-attention-heads 2 --share-decoder-input-output-embed --optimizer masked_adam"
    " --lr 1e-3 --batch-size 16 --max-update 5 --num-workers 0 --no-epoch-checkpoints --seed 3"
).split()
TABLE = "decoder.embed_tokens.weight"


def command(folder, *words):
    line = "import sys; from fairseq_lottery.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [python(), "-c", line, *words], cwd=folder, env=toy.alone(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_task_of_the_page_trains_a_language_model_under_a_ticket(tmp_path):
    code = re.findall(r"^```python\n(# my_tasks/.*?)^```$", PAGE.read_text(), re.M | re.S)
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "my_tasks/__init__.py").write_text(*code)
    toy.write_text(tmp_path)
    files = [x for s in ("train", "valid") for x in (f"--{s}pref", f"{s}.en")]
    flags = ["--only-source", *files, "--destdir", "data"]
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
    assert "has the task 'language_modeling', for which no adapter is" in done.stderr
    done = command(tmp_path, *draw, "--user-dir", "my_tasks")
    assert done.returncode == 0, done.stderr
    fresh = [*draw[:-1], "fresh.safetensors", "--reset", "random", "--user-dir", "my_tasks"]
    done = command(tmp_path, *fresh)
    assert done.returncode == 0, done.stderr
    with pytest.raises(LotteryError, match="'language_modeling'"):
        load_ticket(tmp_path / "half.safetensors")

    half = ["--save-dir", "half", "--ticket", "half.safetensors"]
    log = toy.call("fairseq_cli.train", [*train, *half], tmp_path).ok()
    state = read_checkpoint(tmp_path / "half/checkpoint_last.pt")
    rows = [row for number, row in enumerate(state["model"][TABLE]) if number != 1]
    zeros = sum(int((row == 0).sum()) for row in rows)
    assert state["task_state"]["lottery"]["task"] == "language_modeling"
    assert zeros == count_to_prune(0.5, sum(row.numel() for row in rows))
    done = command(tmp_path, "inspect", "half", "--check", "--user-dir", "my_tasks")
    assert done.returncode == 0, done.stdout + done.stderr

    line = ["heads", "ablate", "half/checkpoint_last.pt", "--out", "effects.json"]
    done = command(tmp_path, *line, "--user-dir", "my_tasks")
    assert done.returncode == 0, done.stderr
    loss = float(re.findall(r"loss of the full model: ([\d.]+);", done.stdout)[0])
    logged = float(re.findall(r"valid on 'valid' subset .*? loss ([\d.]+)", log.out)[-1])
    assert loss / math.log(2) == pytest.approx(logged, abs=6e-4)
