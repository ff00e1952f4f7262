import pytest
from small import (
    DICTIONARIES,
    SYMBOLS,
    full_mask,
    pair_folder,
    save_checkpoint,
    save_snapshot_of,
    weights,
)

from fairseq_lottery.adapters import MASKED_LM
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.source import read_source
from fairseq_lottery.workflow.stages.adopt import adopt, dictionaries_in

NAME = "encoder.layers.0.fc1.weight"


@pytest.fixture
def folders(tmp_path):
    """A run that ended at update 100, with checkpoints of 20 and 60 and a snapshot of 5."""
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    out.mkdir()
    for name, update in (("1_20", 20), ("2_60", 60), ("_best", 60), ("_last", 100)):
        save_checkpoint(run / f"checkpoint{name}.pt", weights(update), update)
    save_snapshot_of(run / "snapshot_5.safetensors", weights(5), 5)
    return run, out


@pytest.fixture
def data(tmp_path):
    """The configuration's data folder."""
    return data_of(tmp_path / "data-bin", SYMBOLS)


def data_of(folder, symbols):
    folder.mkdir()
    for language in ("en", "de"):
        (folder / f"dict.{language}.txt").write_text("".join(f"{s} 1\n" for s in symbols))
    return pair_folder(folder, "en", "de")


def names(out):
    return sorted(path.name for path in out.iterdir())


def test_only_what_is_asked_for_is_copied(folders, data):
    run, out = folders
    before = {path: path.read_bytes() for path in run.iterdir()}
    adopt(run, out, [5, 60, 100], ["best", "last"], 100, data)
    assert names(out) == [
        "best.pt", "last.pt", "snapshot_100.safetensors", "snapshot_5.safetensors",
        "snapshot_60.safetensors",
    ]  # fmt: skip
    for update in (5, 60, 100):
        source = read_source(out / f"snapshot_{update}.safetensors")
        assert source.update == update and not source.is_pruned
        assert source.weights[NAME].equal(weights(update)[NAME])
    assert read_source(out / "best.pt").update == 60
    assert before == {path: path.read_bytes() for path in run.iterdir()}


def test_a_run_whose_weights_nobody_reads(folders, data):
    run, out = folders
    adopt(run, out, [], [], 100, data)
    assert names(out) == []


@pytest.mark.parametrize(
    ("updates", "last", "message"),
    [
        ([7], 100, "has no checkpoint of update 7, only of 5, 20"),
        ([], 99, "ended at update 100, expected --max-update 99; write --max-update 100 or adopt"),
    ],
)
def test_refusals(folders, data, updates, last, message):
    run, out = folders
    with pytest.raises(LotteryError) as refusal:
        adopt(run, out, updates, ["best"], last, data)
    assert str(refusal.value).startswith(f"the run in {run} {message}")
    assert names(out) == []


def test_a_pruned_run_is_no_dense_one(folders, data):
    run, out = folders
    mask = full_mask()
    mask[NAME][0] = False
    pruned = weights(20)
    pruned[NAME][0] = 0
    save_checkpoint(run / "checkpoint1_20.pt", pruned, 20, mask)
    with pytest.raises(LotteryError, match="checkpoint1_20.pt is pruned; "):
        adopt(run, out, [20], [], 100, data)
    assert names(out) == []


def test_a_folder_that_is_no_run(tmp_path, data):
    with pytest.raises(LotteryError, match="has no checkpoint_last.pt to adopt; name a fairseq"):
        adopt(tmp_path, tmp_path, [], [], 100, data)


def test_a_plain_run_gets_the_dictionaries_of_the_configuration(folders, data):
    """Its own data folder was given relative to some other folder."""
    run, out = folders
    cfg = {"model": {"arch": "transformer"}, "task": {"data": "gone"}}
    save_checkpoint(run / "checkpoint1_20.pt", weights(20), 20, task_state={}, cfg=cfg)
    adopt(run, out, [20], [], 100, data)
    assert read_source(out / "snapshot_20.safetensors").find_dictionaries() == DICTIONARIES


@pytest.mark.parametrize(
    ("symbols", "task_state", "message"),
    [
        (SYMBOLS[:-1], {}, "of .*last.pt has 12 rows, expected 11 for the source dictionary"),
        ((*SYMBOLS[:-1], "z"), None, "symbol 7 is 'z', expected 'h' as in .*checkpoint_last.pt"),
    ],
)
def test_a_run_of_other_data_is_refused(folders, tmp_path, symbols, task_state, message):
    run, out = folders
    if task_state is not None:
        save_checkpoint(run / "checkpoint_last.pt", weights(100), 100, task_state=task_state)
    other = data_of(tmp_path / "other", symbols)
    with pytest.raises(LotteryError, match=message):
        dictionaries_in(other, read_source(run / "checkpoint_last.pt"))
    with pytest.raises(LotteryError, match=message):
        adopt(run, out, [100], [], 100, other)
    assert names(out) == []


@pytest.mark.parametrize("state", [{"lottery": {"mask": None, "task": "masked_lm"}}, {}])
def test_a_run_of_another_task_is_adopted_for_that_task_only(folders, data, tmp_path, state):
    """Ours names its task, and plain fairseq's has it in its settings."""
    run, out = folders
    cfg = {"model": {"arch": "roberta"}, "task": {"_name": "masked_lm", "data": "gone"}}
    for name in ("1_20", "_last"):
        update = 20 if name == "1_20" else 100
        path = run / f"checkpoint{name}.pt"
        save_checkpoint(path, weights(update), update, task_state=state, cfg=cfg)
    message = "_20.pt is masked_lm, expected translation;"
    with pytest.raises(LotteryError, match=message):
        adopt(run, out, [20], [], 100, data)
    assert names(out) == []
    folder = tmp_path / "masked"
    folder.mkdir()
    (folder / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in SYMBOLS))
    adopt(run, out, [20], [], 100, MASKED_LM.find_folder({}, str(folder)))
    found = read_source(out / "snapshot_20.safetensors")
    assert found.adapter is MASKED_LM
    assert found.find_dictionaries().symbols == {"source": (*SYMBOLS, "<mask>")}
