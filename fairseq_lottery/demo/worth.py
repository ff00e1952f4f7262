"""What the demo's 90 % ticket is good for: how small its model is, and how fast it translates."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TECHNIQUE, SPARSITY = "slt", 0.9
#: translations of the test set, dense and sparse in turn
_PAIRS = 5
_BEAM, _TOKENS = 4, 4000


def lines(runs: Path) -> Iterator[str]:
    """Two sentences for a reader, out of the folder of a finished demo; none without its ticket."""
    rows = map(json.loads, (runs / "records.jsonl").read_text(encoding="utf-8").splitlines())
    models = (row for row in rows if row["kind"] == "model")
    found = [m for m in models if (m["technique"], m["sparsity"]) == (TECHNIQUE, SPARSITY)]
    for model in found[:1]:
        path = runs / model["file"]
        yield _size(path)
        yield _speed(path)


def _size(path: Path) -> str:
    from fairseq_lottery.tasks.export import export
    from fairseq_lottery.tickets.inspection import inspect_file

    with tempfile.TemporaryDirectory() as folder:
        compact = Path(folder) / "model.safetensors"
        export(path, compact, "compact")
        found = inspect_file(compact)
    return (
        f"The SLT model of {SPARSITY:.0%}: {found['bytes'] / 1e3:.0f} kB as a compact file,"
        f" {found['dense_bytes'] / 1e3:.0f} kB dense"
        f" (fairseq-lottery export {path} --to compact --out FILE)."
    )


def _speed(path: Path) -> str:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    ways = {flag: _translation(path, flag) for flag in (False, True)}
    taken: dict[bool, list[float]] = {flag: [] for flag in ways}
    for _ in range(_PAIRS):
        for flag, translate in ways.items():
            begin = time.perf_counter()
            translate()
            taken[flag].append(time.perf_counter() - begin)
    torch.set_num_threads(before)
    dense, sparse = (statistics.median(taken[flag]) for flag in (False, True))
    ratios = [a / b for a, b in zip(taken[False], taken[True])]
    return (
        f"It translates the test set in {sparse:.2f} s with --sparse-decode and in {dense:.2f} s"
        f" without, {statistics.median(ratios):.2f}x [{min(ratios):.2f}, {max(ratios):.2f}], on one"
        " core; docs/performance.md has a model of real size."
    )


def _translation(path: Path, sparse: bool) -> Any:
    """A function that translates the test set that ``path`` was evaluated on."""
    from fairseq import checkpoint_utils

    import fairseq_lottery.plugin  # noqa: F401 - lets fairseq load what its own code cannot

    models, _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(path)], arg_overrides={"sparse_decode": sparse}
    )
    for model in models:
        model.prepare_for_inference_(Namespace(generation=Namespace(beam=_BEAM)))
        model.eval()
    task.load_dataset("test")
    batches = task.get_batch_iterator(task.dataset("test"), max_tokens=_TOKENS)
    samples = list(batches.next_epoch_itr(shuffle=False))
    generator = task.build_generator(models, Namespace(beam=_BEAM))
    generator.generate(models, samples[0])
    return lambda: [generator.generate(models, sample) for sample in samples]
