"""The demo's data, which the pages create with their first command."""

import pytest


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory):
    """Return the folder that the pages' first command creates; in a copy it finds its data."""
    from docs.test_commands import paste

    for package in ("fairseq", "sentencepiece"):
        pytest.importorskip(package)
    where = tmp_path_factory.mktemp("demo")
    paste("fairseq-lottery demo --data-only --out demo", {}, where)
    return where / "demo"
