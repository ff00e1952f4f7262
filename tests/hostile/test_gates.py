"""Gates in checkpoints, as heads importance, inspect --check and a resumed training read them."""

import pytest
from hostile import checkpoints, gates, watch
from hostile.damage import written
from small import full_mask, load, save_checkpoint, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.formats.source import read_source
from fairseq_lottery.heads.gates.learned_gates import read_gates
from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of
from fairseq_lottery.tickets.folder_check import check_folder

SETTINGS = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / checkpoints.NAME
    cfg = {"model": {"arch": "transformer", **SETTINGS}, "task": {}}
    save_checkpoint(path, weights(), mask=full_mask(), cfg=cfg, criterion=gates.GOOD)
    return load(path)


def read(path):
    """What is in it; a check of the folder says the same of it."""
    checked = check_folder(path.parent)[0]
    try:
        found = read_gates(read_checkpoint(path)["criterion"], anatomy_of(read_source(path)))
    except LotteryError as error:
        problem = str(error)
        assert [one.replace(str(path), "") for one in checked.problems] == [
            problem.replace(str(path), "")
        ]
        raise
    assert checked.problems == ()
    kept = [(kind, theta.tolist()) for kind, theta in found.theta.items()]
    return repr((kept, found.targets, found.anneal))


def test_every_bad_state_of_gates_is_refused_in_one_sentence(state, tmp_path):
    good = read(written(checkpoints.saved(state), checkpoints.NAME)(tmp_path))
    (tmp_path / checkpoints.NAME).unlink()
    watch.judged("gates", watch.run(read, gates.all_of(state), tmp_path, good), least=50)


def test_gates_of_before_targets_were_kept(state, tmp_path):
    criterion = {**gates.GOOD, "gates._extra_state": {"weight": {"heads": 0.5}}}
    path = written(checkpoints.saved({**state, "criterion": criterion}), "old.pt")(tmp_path)
    found = read_gates(read_checkpoint(path)["criterion"], anatomy_of(read_source(path)))
    assert found.targets is None and found.anneal is None and found.theta["heads"].shape == (12,)
