"""A corrupted last checkpoint never ends a training, and never goes unnoticed."""

import shutil

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from small import PROPERTY, load, optimizer_state, save_checkpoint, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.training.start.checkpoint_repair import is_intact, repair_last


def save(folder, name, update, **changes):
    """The checkpoint of an update; each has weights of its own."""
    made = weights(update)
    return save_checkpoint(
        folder / name, made, update, last_optimizer_state=optimizer_state(made), **changes
    )


@pytest.fixture
def folder(tmp_path):
    """A save-dir at update 30: files as fairseq's retention leaves them."""
    save(tmp_path, "checkpoint2.pt", 20)
    save(tmp_path, "checkpoint_3_24.pt", 24)
    save(tmp_path, "checkpoint_3_30.pt", 30)
    save(tmp_path, "checkpoint_best.pt", 9)
    shutil.copy(tmp_path / "checkpoint_3_30.pt", tmp_path / "checkpoint_last.pt")
    return tmp_path


def update_of(path):
    return read_checkpoint(path)["optimizer_history"][-1]["num_updates"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def truncate(path, size):
    with open(path, "rb+") as file:
        file.truncate(size)


def test_a_whole_one_stays(folder):
    before = names(folder)
    assert repair_last(folder) is None
    assert names(folder) == before


@pytest.mark.parametrize("missing", ["nothing", "the folder"])
def test_nothing_is_mended_before_a_training(tmp_path, missing):
    assert repair_last(tmp_path if missing == "nothing" else tmp_path / "gone") is None
    assert names(tmp_path) == []


def test_a_last_checkpoint_that_was_removed_stays_so(folder):
    (folder / "checkpoint_last.pt").unlink()
    assert repair_last(folder) is None
    assert "checkpoint_last.pt" not in names(folder)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 100, 0.5, -100, -22, -2, -1])
def test_a_truncated_one_is_set_aside(folder, size):
    last, newest = folder / "checkpoint_last.pt", folder / "checkpoint_3_30.pt"
    whole = last.stat().st_size
    truncate(last, int(size * whole) if size == 0.5 else size % whole if size < 0 else size)
    left = last.read_bytes()
    assert repair_last(folder) == (
        "checkpoint_last.pt was corrupted and is kept as checkpoint_last.pt.damaged; the training"
        " resumes from checkpoint_3_30.pt, update 30"
    )
    assert last.read_bytes() == newest.read_bytes()
    assert last.stat().st_ino != newest.stat().st_ino, "fairseq will write into the file"
    assert (folder / "checkpoint_last.pt.damaged").read_bytes() == left
    assert repair_last(folder) is None


def test_the_newest_is_so_by_update_and_whole(folder):
    """Not by name, nor by the time in which it was written."""
    truncate(folder / "checkpoint_last.pt", 1000)
    (folder / "checkpoint_3_30.pt").write_bytes(b"")
    save(folder, "checkpoint10.pt", 23)
    assert "from checkpoint_3_24.pt, update 24" in repair_last(folder)
    assert update_of(folder / "checkpoint_last.pt") == 24


def test_a_damage_that_only_the_checksums_see_is_passed_over(folder):
    truncate(folder / "checkpoint_last.pt", 1000)
    data = bytearray((folder / "checkpoint_3_30.pt").read_bytes())
    at = data.find(weights(30)["encoder.layers.0.fc1.weight"].numpy().tobytes())
    data[at + 5] ^= 1
    (folder / "checkpoint_3_30.pt").write_bytes(data)
    assert load(folder / "checkpoint_3_30.pt"), "with a wrong weight"
    with pytest.raises(LotteryError, match="can be loaded safely .it is truncated"):
        update_of(folder / "checkpoint_3_30.pt")
    assert "from checkpoint_3_24.pt" in repair_last(folder)


def test_the_best_one_serves_where_it_is_all(folder):
    truncate(folder / "checkpoint_last.pt", 1000)
    for path in (*folder.glob("checkpoint_3_*.pt"), folder / "checkpoint2.pt"):
        path.unlink()
    assert "from checkpoint_best.pt, update 9" in repair_last(folder)


def test_files_that_fairseq_did_not_name_do_not_serve(folder):
    truncate(folder / "checkpoint_last.pt", 1000)
    save(folder, "checkpoint_averaged.pt", 99)
    save(folder, "crash.pt", 99)
    save(folder, "checkpoint_4_99-shard1.pt", 99)
    assert "update 30" in repair_last(folder)


def test_a_suffix_is_kept_apart(folder):
    save(folder, "checkpoint_2_12-rank-0.pt", 12)
    (folder / "checkpoint_last-rank-0.pt").write_bytes(b"PK\3\4 half")
    assert "from checkpoint_2_12-rank-0.pt, update 12" in repair_last(folder, "-rank-0")
    assert update_of(folder / "checkpoint_last-rank-0.pt") == 12


def test_no_whole_one_is_refused_and_nothing_is_touched(folder):
    for path in folder.iterdir():
        truncate(path, path.stat().st_size // 2)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(LotteryError, match="checkpoint_last.pt is corrupted"):
        repair_last(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_was_corrupted_before_makes_room(folder):
    (folder / "checkpoint_last.pt.damaged").write_bytes(b"older")
    (folder / "checkpoint_last.pt").write_bytes(b"newer")
    assert repair_last(folder)
    assert (folder / "checkpoint_last.pt.damaged").read_bytes() == b"newer"


def test_the_format_before_zip(tmp_path):
    state = {"model": {"weight": torch.ones(100)}}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert is_intact(tmp_path / "old.pt")
    truncate(tmp_path / "old.pt", 300)
    assert not is_intact(tmp_path / "old.pt")


class Foreign:
    """What no checkpoint of fairseq's holds."""


@pytest.mark.parametrize("state", [{"model": {"w": Foreign()}}, {"weights": torch.ones(2)}])
def test_what_is_refused_for_its_content_is_not_corrupted(folder, state):
    torch.save(state, folder / "checkpoint_last.pt")
    assert repair_last(folder) is None
    with pytest.raises(LotteryError):
        read_checkpoint(folder / "checkpoint_last.pt")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A checkpoint's bytes, what is in it, and a path to write to."""
    folder = tmp_path_factory.mktemp("one")
    path = save(folder, "checkpoint_last.pt", 20)
    return (folder / "checkpoint_last.pt").read_bytes(), read_checkpoint(path), folder / "file.pt"


@PROPERTY
@given(data=st.data())
def test_every_truncation_is_seen(one, data):
    whole, _, path = one
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert not is_intact(path)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@PROPERTY
@given(start=st.integers(0), length=st.integers(1, 5000), filler=st.sampled_from([0, 255]))
@example(start=0, length=2, filler=0)
def test_a_block_that_was_not_written_is_seen_or_changes_nothing(one, start, length, filler):
    whole, state, path = one
    start %= len(whole)
    part = whole[start : start + length]
    path.write_bytes(whole[:start] + bytes([filler] * len(part)) + whole[start + len(part) :])
    assert_seen_or_same(path, state)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@PROPERTY
@given(at=st.integers(0), bit=st.integers(0, 7), share=st.sampled_from([1, 0.2]))
def test_a_flipped_bit_is_seen_or_changes_nothing(one, at, bit, share):
    """Anywhere, or in the last fifth of this small file, which is the table of contents."""
    whole, state, path = one
    changed = bytearray(whole)
    changed[len(whole) - 1 - at % int(share * len(whole))] ^= 1 << bit
    path.write_bytes(changed)
    assert_seen_or_same(path, state)


def assert_seen_or_same(path, state):
    from toy import same

    if is_intact(path):
        assert same(read_checkpoint(path), state)
