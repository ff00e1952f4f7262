"""Building the kernel: in processes of their own, each with a cache of its own."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from engines import built
from forking import python

from fairseq_lottery.sparse import kernel

ROOT = Path(kernel.__file__).resolve().parents[2]

USE = """
import logging, torch
logging.basicConfig(level=logging.INFO, format="%(message)s")
from fairseq_lottery.sparse.sparse_decoding import engine
from fairseq_lottery.sparse.kernel import capability
x, w = torch.randn(70, 40), torch.randn(30, 40) * (torch.rand(30, 40) < 0.3)
found = engine()
assert torch.allclose(found(w).linear(x, None), x @ w.t(), atol=1e-4)
print(capability(), found.__name__)
"""


def use(cache, interpreter=sys.executable, **environment):
    done = subprocess.run(
        [interpreter, "-c", USE], capture_output=True, text=True, cwd=ROOT, timeout=300,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split("\n")[-2], done.stderr


@built
@pytest.mark.slow
def test_it_is_built_once_for_what_the_processor_can_do(tmp_path):
    """No vector instructions beyond the least: as on a machine without AVX."""
    least = {"ATEN_CPU_CAPABILITY": "default"}
    said, log = use(tmp_path, **least)
    assert said in ("DEFAULT KernelMatrix", "NO AVX KernelMatrix") and "compiling" in log
    (cached,) = (tmp_path / "fairseq_lottery").glob("*.so")
    known = cached.with_suffix(".sha256")
    assert cached.name.startswith(f"sparse-{said.rsplit(' ', 1)[0].replace(' ', '-')}-")
    assert known.read_text() == hashlib.sha256(cached.read_bytes()).hexdigest()
    said, log = use(tmp_path, **least)
    assert said.endswith("KernelMatrix") and "compiling" not in log
    assert set((tmp_path / "fairseq_lottery").iterdir()) == {cached, known}


@pytest.mark.parametrize("corrupted", [b"", b"half"])
def test_what_was_not_built_whole_is_never_loaded(tmp_path, monkeypatch, corrupted):
    """Loading it would kill the process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built_anew = []
    monkeypatch.setattr(kernel, "_build", built_anew.append)
    path = kernel.cached()
    path.parent.mkdir()
    path.write_bytes(corrupted)
    path.with_suffix(".sha256").write_text(hashlib.sha256(b"whole").hexdigest())
    kernel.native.__wrapped__()
    assert built_anew == [path]


@pytest.mark.slow
def test_without_a_compiler_torch_multiplies(tmp_path):
    said, log = use(tmp_path, python(), PATH="/nowhere", CXX="/nowhere/c++")
    assert said.endswith(" SparseMatrix")
    assert "the compiled kernels cannot be built (" in log
    assert list((tmp_path / "fairseq_lottery").iterdir()) == []


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "fairseq_lottery").write_text("in the way")
    said, log = use(tmp_path, python())
    assert said.endswith(" SparseMatrix") and "the compiled kernels cannot be built (" in log


def test_the_sources_are_small():
    """They have their place only as long as they are."""
    sources = list(Path(kernel.__file__).with_name("native").iterdir())
    assert {path.suffix for path in sources} == {".cpp", ".h"}
    assert all(len(path.read_text().splitlines()) < 300 for path in sources)
