"""Benchmarks that run in seconds at a small size; what they measure, no test judges."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(
    torch.__version__.startswith("1."), reason="benchmarks are for the torch that is pinned"
)
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
#: prunable weights of one layer on each side with 100 types, one of them padding
WIDE = 99 * 512 + 28 * 512**2
NARROW = 99 * 64 + 28 * 64**2
TINY = ("--layers", "1", "--vocabulary", "100", "--tokens", "128", "--threads", "1")


def measured(script, *flags):
    """The record that a benchmark prints."""
    run = subprocess.run(
        [sys.executable, script, *flags, "--json"],
        cwd=BENCHMARKS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


def test_exchange():
    record = measured("exchange.py", *TINY, "--width", "64", "--repeats", "2")
    assert record["prunable"] == NARROW
    # an exchange and an update with dense gradients, beside a plain update
    updates = record["seconds"]
    assert record["cost"] == [
        pytest.approx((dense + exchange - plain) / plain)
        for plain, dense, exchange in zip(*updates.values())
    ]
    assert list(updates) == ["update", "update with dense gradients", "exchange"]
    assert [len(seconds) for seconds in updates.values()] == [2, 2, 2]


@pytest.mark.parametrize("script, repeats", [("masking.py", "--pairs"), ("pruners.py", "--rounds")])
def test_updates(script, repeats):
    record = measured(script, *TINY, repeats, "1")
    assert f"128 tokens, {WIDE:,} prunable weights" in record["title"]
    seconds = record["seconds"].get("update") or record["seconds"]
    ways = {"masking.py": {"adam", "masked_adam", "torch.nn.utils.prune", "masking alone"}}
    assert set(seconds) == ways.get(
        script, {"gradual", "gradual-regrow", "movement", "soft-movement"}
    )
    assert all(len(times) == 1 and times[0] > 0 for times in seconds.values())


def test_recording():
    (result,) = measured("recording.py", "--words", "100", "--repeats", "1")["results"]
    assert result["words"] == 112  # whole sentences
    assert result["files_mb"] > 4  # the recording was written


def test_synaptic_flow():
    """One round at 90 % is the layer collapse that a hundred rounds avoid."""
    record = measured("saliency.py", "--rounds", "1", "--threads", "1")
    assert record["emptied"] > 0 and record["fewest kept"] == 0


def test_slim_models():
    small = ("--types", "300", "--batch", "2", "--beam", "1", "--repeats", "1", "--threads", "1")
    sizes = measured("slim.py", *small, "--without-ctranslate2")["sizes"]
    cut = sizes["zeros"]["parameters"] - sizes["slim"]["parameters"]
    # half of the heads and units of 6 + 6 layers, with their biases
    heads = (6 + 2 * 6) * 4 * (4 * 64 * 512 + 3 * 64)
    units = 12 * 1024 * (2 * 512 + 1)
    assert cut == heads + units


def test_decoding():
    small = ("--types", "300", "--batch", "2", "--beam", "1", "--repeats", "1")
    ways = measured("decoding.py", *small, "--without-peers", "--sparsities", "0.9")["ways"]
    assert [way["way"] for way in ways][:2] == ["fairseq, dense", "ours, dense"]
    assert ways[1]["same"] == 2  # both translations are those of fairseq


def test_parts_of_a_decode():
    small = ("--types", "300", "--batch", "2", "--beam", "1", "--repeats", "1")
    columns = measured("decoding_parts.py", *small, "--sparsities", "0.9")["parts"]
    assert list(columns) == ["no weights", "90%"]
    for seconds in columns.values():
        whole = seconds.pop("whole")
        assert all(part > 0 for part in seconds.values())
        assert sum(seconds.values()) == pytest.approx(whole)


def test_the_generator_of_a_gpu():
    """On a CPU it counts the calls of kernels: at most three quarters of fairseq's."""
    small = ("--types", "300", "--batches", "2", "--beam", "2", "--repeats", "1")
    results = measured("gpu_generator.py", *small, "--dtypes", "float32", "--device", "cpu")
    (result,) = results["results"]
    assert result["same"] == 2
    theirs, ours = result["calls"].values()
    assert 0 < ours < 0.75 * theirs
