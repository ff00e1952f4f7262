"""A real Slurm of one node for the tests, where its programs are installed and this is root."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}


class Slurm:
    """A running Slurm: what its commands need, and what tests do with it.

    Attributes:
        environment: for every command of Slurm's: the process's own, with SLURM_CONF.
    """

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command) -> str:
        """What a command of Slurm's prints; it must succeed."""
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=self.environment,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def submit(self, script: Path, *flags) -> int:
        """Submit a job script; both streams go to a file beside it. Returns the job's number."""
        return int(
            self.run("sbatch", "--parsable", f"--output={script}.%j.log", *flags, script)
        )

    def show(self, job: int) -> dict:
        """What Slurm says of a job, as JobState or ExitCode."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: int, timeout: float = 300) -> dict:
        """Wait until nothing of a job runs any more; returns what Slurm says of it."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            shown = self.show(job)
            if shown["JobState"] in ENDED:
                return shown
            time.sleep(0.2)
        raise AssertionError(f"job {job} has not ended after {timeout} s: {shown}")


@pytest.fixture(scope="session")
def slurm():
    """Started once; skipped, with the reason, where it cannot be."""
    missing = [name for name in ("slurmctld", "slurmd", "munged") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)")
    if os.getuid() != 0:
        pytest.skip("needs root")
    # a socket's path must be short, which those of pytest's own folders are not
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        started = subprocess.run([HERE / "start_slurm.sh", folder], timeout=60)
        if started.returncode != 0:
            pytest.skip(f"Slurm does not start: {(folder / 'start.log').read_text()[-500:]}")
        yield Slurm(folder)
    finally:
        subprocess.run([HERE / "stop_slurm.sh", folder], capture_output=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
