"""Snakemake's wall time over that of the same command lines as the emitted script.

The demo's trainings, once through ``fairseq-lottery run`` and once as ``--emit bash`` writes them,
in turn, with as many stages at a time. Preparing, planning and reporting are not timed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine, spread

from fairseq_lottery.demo.prepare import prepare

LOTTERY = [sys.executable, "-m", "fairseq_lottery.cli.main"]


def configure(text: Path, out: Path, updates: int) -> Path:
    """The demo's configuration with its trainings cut to ``updates``, in a folder of its own."""
    configuration = out.with_suffix(".yaml")
    content = (text / "demo.yaml").read_text()
    content = content.replace("--max-update 1000", f"--max-update {updates}")
    for key in ("data: ", "references: "):
        content = content.replace(f"\n{key}", f"\n{key}{text}/")
    configuration.write_text(content.replace("out: runs", f"out: {out}"))
    return configuration


def engine(configuration: Path, jobs: int) -> float:
    """Seconds of ``fairseq-lottery run``."""
    begin = time.perf_counter()
    subprocess.run([*LOTTERY, "run", configuration, "--jobs", str(jobs)], check=True)
    return time.perf_counter() - begin


def script(configuration: Path, jobs: int) -> float:
    """Seconds of the emitted script."""
    emit = [*LOTTERY, "run", configuration, "--jobs", str(jobs), "--emit", "bash"]
    lines = subprocess.run(emit, check=True, capture_output=True, text=True).stdout
    begin = time.perf_counter()
    subprocess.run(["bash", "-s"], input=lines, check=True, text=True)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepare(folder / "text", 1)
        taken: dict[str, list[float]] = {"engine": [], "script": []}
        for pair in range(args.pairs):
            ways = [("engine", engine), ("script", script)]
            for way, run in ways if pair % 2 == 0 else reversed(ways):
                configuration = configure(folder / "text", folder / f"{way}{pair}", args.updates)
                taken[way].append(run(configuration, args.jobs))
    print(machine())
    for way, seconds in taken.items():
        print(f"{way}: {spread(seconds)} s")
    ratios = [a / b for a, b in zip(taken["engine"], taken["script"])]
    print(f"ratio, pair by pair: {spread(ratios)}")


if __name__ == "__main__":
    main()
