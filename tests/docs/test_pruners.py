"""The pruner that docs/extending.md shows, as a file of a user's own."""

import sys

import pytest
from docs.test_commands import blocks

pytest.importorskip("fairseq")

from matrix.training import Training, configuration, in_this_process
from toy import same

from fairseq_lottery.masks import PrunerInput, find_pruner
from fairseq_lottery.tickets.folder_check import check_folder

FLAGS = (
    *("--pruner", "my_pruners:Momentum", "--prune-to", 0.8, "--prune-start", 0, "--prune-end", 9),
    *("--prune-every", 2, "--max-update", 10),
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    (block,) = (b for b in blocks("docs/extending.md", "python") if b.startswith("# my_pruners"))
    (tmp_path / "my_pruners.py").write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield find_pruner("my_pruners:Momentum")[0]
    sys.modules.pop("my_pruners", None)


def test_it_trains_resumes_and_regrows_where_gradients_are_largest(
    own, toy_data, tmp_path, monkeypatch
):
    seen = []

    def watched(self, given: PrunerInput):
        mask = next_mask(self, given)
        for name, before in given.mask.items():
            regrown, sums = mask[name] & ~before, given.dense_gradients[name].abs()
            rest = ~before & ~regrown
            if regrown.any() and rest.any():
                seen.append(bool(sums[regrown].min() >= sums[rest].max()))
        return mask

    next_mask = own.next_mask
    monkeypatch.setattr(own, "next_mask", watched)
    whole, parts = (
        configuration(toy_data, tmp_path / name, *FLAGS) for name in ("whole", "parts")
    )
    with in_this_process():
        one = Training(whole).run(10).save()
        Training(parts).run(5).save()
        other = Training(parts).run(10).save()
    assert len(seen) > 50 and all(seen)
    for part, state in one.state().items():
        assert same(state, other.state()[part]), part
    assert one.watch.exchanged > 0
    assert [found.problems for found in check_folder(tmp_path / "parts")] == [()]
