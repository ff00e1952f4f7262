"""One finished run that is read and never changed."""

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Three techniques at two sparsities with two seeds: scores, curves and masks."""
    pytest.importorskip("sacrebleu")
    from report.made import Made

    run = Made(tmp_path_factory.mktemp("finished") / "run", seeds=(1, 2))
    return run.score(("BLEU", "TER")).curve().model().write()
