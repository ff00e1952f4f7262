"""The compiled code for products and decoding: built once per machine, then loaded."""

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

_SOURCES = sorted(Path(__file__).with_name("native").iterdir())
#: vector instructions reported by torch -> flags of the compiler
_FLAGS = {
    "AVX512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
    "AVX2": ("-mavx2", "-mfma"),
}


def capability() -> str:
    """Return the vector instructions that torch uses, such as ``AVX512``.

    The environment variable ``ATEN_CPU_CAPABILITY`` lowers them for torch and for the kernel.
    """
    match = re.search(r"CPU capability usage: (.+)", torch.__config__.show())
    return match.group(1).strip() if match else "DEFAULT"


@cache
def native() -> Optional[Any]:
    """Return the operators of ``native/library.cpp``, or None.

    The first process on a machine compiles them in half a minute. The user's cache has one library
    per instruction set, torch version and source. If it cannot be built, the reason is logged.
    """
    path = cached()
    try:
        if _is_valid(path):
            torch.ops.load_library(str(path))
        else:
            _build(path)
        return torch.ops.fairseq_lottery
    except Exception as error:  # noqa: BLE001 - no compiler, no ninja, no folder
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        logger.warning("the compiled kernels cannot be built (%s)", reason)
        return None


def _is_valid(path: Path) -> bool:
    """Return whether the cached library is unchanged; a corrupted one would kill the process."""
    if not path.is_file():
        return False
    digest = path.with_suffix(".sha256")
    is_valid = digest.is_file() and digest.read_text() == sha256_of(path)
    if not is_valid:
        logger.warning("the compiled kernels in %s are corrupted and are built again", path)
    return is_valid


def cached() -> Path:
    """Return the path of the library in the user's cache, whether it exists or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    sources = b"".join(path.read_bytes() for path in _SOURCES)
    inputs = sources + repr((torch.__version__, _FLAGS)).encode()
    name = f"sparse-{capability().replace(' ', '-')}-{hashlib.sha256(inputs).hexdigest()[:12]}.so"
    return Path(cache) / "fairseq_lottery" / name


@contextmanager
def _ninja_on_path() -> Iterator[None]:
    """Add the folder of the interpreter, where pip installs ninja, to the path."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _build(path: Path) -> None:
    """Compile beside ``path`` and load it.

    When torch's loader is killed, its lock remains and blocks the next loader forever. So each
    build has a temporary folder.
    """
    from torch.utils import cpp_extension

    # torch 1 asks for an older standard; the last one counts
    standard = [] if hasattr(torch, "compile") else ["-std=c++17"]
    logger.info("compiling the kernels for %s into %s, once", capability(), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, _ninja_on_path():
        cpp_extension.load(
            name=path.stem,
            sources=[str(path) for path in _SOURCES if path.suffix == ".cpp"],
            extra_cflags=[*standard, "-O3", "-fopenmp", *_FLAGS.get(capability(), ())],
            build_directory=folder,
            is_python_module=False,
        )
        library = Path(folder) / path.name
        digest = library.with_suffix(".sha256")
        digest.write_text(sha256_of(library))
        # a process between the two renames builds it again
        os.replace(digest, path.with_suffix(".sha256"))
        os.replace(library, path)
