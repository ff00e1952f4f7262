"""The helper beside these tests, and one finished run that is read and never changed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Three techniques at two sparsities with two seeds: scores, curves and masks."""
    pytest.importorskip("sacrebleu")
    from made import Made

    run = Made(tmp_path_factory.mktemp("finished") / "run", seeds=(1, 2))
    return run.score(("BLEU", "TER")).curve().model().write()
