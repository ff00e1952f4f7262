"""Small disks of their own, which fill up."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def small_disk(folder, size="1m"):
    """Mount a disk at a new folder; yields what sets its size in kilobytes."""
    folder.mkdir()

    def mount(*options):
        words = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    done = mount("-o", f"size={size}")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield lambda size: mount("-o", f"remount,size={size}k")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
