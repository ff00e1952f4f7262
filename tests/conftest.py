"""What holds for every test: one thread each, the slow ones last; the toy translation task."""

import contextlib
import importlib
import os
import re
import sys
from pathlib import Path

import pytest

# Tests run side by side; a process that takes every core would only wait for the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

#: of the slow tests these start first, so that no process is left alone with one at the end
LONGEST = (
    "tests/docs", "tests/demo", "tests/slurm", "tests/workflow/test_whole.py",
    "tests/training/test_torchrun.py", "tests/sparse/test_kernel.py",
)  # fmt: skip

def pytest_configure(config):
    """A GPU is for the tests that are about it: sums on one have no order, so bits differ."""
    if not re.fullmatch(r"cuda( and .+)?", config.option.markexpr.strip()):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collectstart():
    """Load fairseq before our package, which registers its plugin where fairseq is loaded.

    The process that only distributes tests to others collects none, and starts them sooner.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("fairseq_cli.train")


def pytest_collection_modifyitems(items):
    def order(item):
        slow = item.get_closest_marker("slow") is not None
        return slow, slow and not item.nodeid.startswith(LONGEST)

    items.sort(key=order)


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and -m cuda to use it")


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory):
    """The toy's binary data, made by fairseq-preprocess."""
    pytest.importorskip("fairseq")
    import toy

    folder = tmp_path_factory.mktemp("toy")
    toy.write_text(folder)
    prefixes = [x for s in ("train", "valid", "test") for x in (f"--{s}pref", folder / s)]
    toy.call(
        "fairseq_cli.preprocess",
        ["-s", "en", "-t", "de", *prefixes, "--destdir", folder / "bin", "--joined-dictionary"],
        folder,
    ).ok()
    return folder / "bin"


@pytest.fixture
def toy(toy_data, tmp_path):
    """The toy task with an empty folder to train in."""
    from toy import Toy

    return Toy(toy_data, tmp_path)


@pytest.fixture(scope="session")
def dense(toy_data, tmp_path_factory):
    """A dense run of 20 updates with snapshots of updates 0 and 5."""
    from toy import Toy

    task = Toy(toy_data, tmp_path_factory.mktemp("dense"))
    task.train("dense", "--snapshot-updates", "0,5").ok()
    return task.path("dense")
