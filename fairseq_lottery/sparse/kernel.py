"""The compiled product with a sparse matrix: built once per machine, then loaded."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Optional

import torch

from fairseq_lottery.files import sha256_of

logger = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("kernel.cpp")
#: what torch has found the processor to be able to do -> what the compiler may use
_FLAGS = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}


def capability() -> str:
    """The vector instructions that torch uses here, for instance ``AVX512``.

    The environment variable ``ATEN_CPU_CAPABILITY`` lowers it, for torch and for the kernel.
    """
    found = re.search(r"CPU capability usage: (.+)", torch.__config__.show())
    return found.group(1).strip() if found else "DEFAULT"


@cache
def sparse_linear() -> Optional[Any]:
    """``(x, starts, columns, values, bias, inputs) -> x W^T + bias``; None: it cannot be built.

    The first process on a machine compiles it, for half a minute; the result is kept in the
    user's cache, by processor, torch and source. A log line says why it cannot be built.
    """
    path = cached()
    try:
        if _is_whole(path):
            torch.ops.load_library(str(path))
        else:
            _build(path)
        return torch.ops.fairseq_lottery.sparse_linear
    except Exception as error:  # noqa: BLE001 - no compiler, no ninja, no folder: all the same
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        logger.warning("the sparse kernel cannot be built (%s)", reason)
        return None


def _is_whole(path: Path) -> bool:
    """Return whether the cached kernel is as it was built: a corrupted one kills the process."""
    if not path.is_file():
        return False
    known = path.with_suffix(".sha256")
    whole = known.is_file() and known.read_text() == sha256_of(path)
    if not whole:
        logger.warning("the sparse kernel in %s is corrupted and built anew", path)
    return whole


def cached() -> Path:
    """Where the compiled product lies, or would lie, in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    made_of = _SOURCE.read_bytes() + repr((torch.__version__, _FLAGS)).encode()
    name = f"sparse-{capability().replace(' ', '-')}-{hashlib.sha256(made_of).hexdigest()[:12]}.so"
    return Path(cache) / "fairseq_lottery" / name


@contextmanager
def _ninja_on_path() -> Iterator[None]:
    """Let torch find the ninja that pip puts beside the interpreter."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _build(path: Path) -> None:
    """Compile beside ``path`` and load it.

    torch's loader leaves a lock behind when it is killed, and waits for it for ever the next
    time; in a folder of its own it meets no lock.
    """
    from torch.utils import cpp_extension

    logger.info("compiling the sparse kernel for %s into %s, once", capability(), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, _ninja_on_path():
        cpp_extension.load(
            name=path.stem,
            sources=[str(_SOURCE)],
            extra_cflags=["-O3", "-fopenmp", *_FLAGS.get(capability(), ())],
            build_directory=folder,
            is_python_module=False,
        )
        made = Path(folder) / path.name
        known = made.with_suffix(".sha256")
        known.write_text(sha256_of(made))
        # a process between the two builds it once more
        os.replace(known, path.with_suffix(".sha256"))
        os.replace(made, path)
