import os
import resource
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import alone_in, is_plain, locked, read_bytes, read_text, replacing
from fairseq_lottery.files.folders import refuse_folder


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def test_the_new_file_takes_the_place_of_the_old_one(old):
    with replacing(old) as temporary:
        temporary.write_bytes(b"new")
        assert old.read_bytes() == b"old", "until all is written"
        assert temporary.parent == old.parent, "a rename is atomic within one file system only"
    assert old.read_bytes() == b"new"
    assert list(old.parent.iterdir()) == [old]


def test_the_file_and_then_its_folder_reach_the_disk(old, monkeypatch):
    """A rename that survives a power cut, of a file whose content does as well."""
    synced = []

    def fsync(number):
        synced.append((os.readlink(f"/proc/self/fd/{number}"), old.read_bytes()))

    with replacing(old) as temporary:
        temporary.write_bytes(b"new")
        monkeypatch.setattr(os, "fsync", fsync)
    assert synced == [(str(temporary), b"old"), (str(old.parent), b"new")]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(old, interruption):
    with pytest.raises(interruption):
        with replacing(old) as temporary:
            temporary.write_bytes(b"half of the new o")
            raise interruption
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_two_writers_of_one_file_have_a_temporary_file_each(old):
    """As in two containers that share a folder, where both processes have one number."""
    with replacing(old) as first, replacing(old) as second:
        assert first != second and first.exists() and second.exists(), "nobody else can take it"
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert old.read_bytes() == b"first"
    assert list(old.parent.iterdir()) == [old]


def test_a_name_that_is_guessed_is_not_followed(old, monkeypatch):
    """A link that lies where the temporary file would be is passed over."""
    mine = old.with_name("mine")
    mine.write_bytes(b"mine")
    names = iter(["guessed", "other"])
    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: names)
    old.with_name(f".{old.name}.guessed.tmp").symlink_to(mine)
    with replacing(old) as temporary:
        assert temporary.name == f".{old.name}.other.tmp"
        temporary.write_bytes(b"new")
    assert mine.read_bytes() == b"mine" and old.read_bytes() == b"new"


def test_who_holds_a_lock_is_waited_for(tmp_path):
    inside, outside = os.pipe()
    pid = os.fork()
    if not pid:
        with locked(tmp_path / "lock"):
            os.write(outside, b"x")
            time.sleep(0.5)
            (tmp_path / "done").touch()
        os._exit(0)
    os.read(inside, 1)
    with locked(tmp_path / "lock"):
        assert (tmp_path / "done").exists()
    os.waitpid(pid, 0)
    with pytest.raises(LotteryError, match="gone/lock cannot be written"):
        with locked(tmp_path / "gone" / "lock"):
            pass


def test_a_killed_write_leaves_the_old_file(old):
    pid = os.fork()
    if not pid:
        with replacing(old) as temporary:
            temporary.write_bytes(b"half of the new o")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert old.read_bytes() == b"old"
    with replacing(old) as temporary:
        temporary.write_bytes(b"new")
    assert old.read_bytes() == b"new"


def test_nothing_is_overwritten_unless_asked(old):
    with pytest.raises(LotteryError, match="file exists already; remove it or choose another name"):
        with replacing(old, overwrite=False):
            pytest.fail("refused before anything is computed")
    assert old.read_bytes() == b"old"
    with replacing(old.with_name("other"), overwrite=False) as temporary:
        temporary.write_bytes(b"new")
    assert old.with_name("other").read_bytes() == b"new"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_pipe_or_device_is_neither_replaced_nor_to_be_removed(tmp_path, overwrite):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(LotteryError, match="is a device, a pipe or a socket; choose another"):
            with replacing(path, overwrite):
                raise AssertionError("nothing is written")
        with pytest.raises(LotteryError, match="is a device, a pipe or a socket; choose another"):
            refuse_folder(path, None, overwrite)
    assert not any(one.suffix == ".tmp" for one in tmp_path.iterdir())


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(LotteryError, match="the folder .*missing does not exist; create it first"):
        with replacing(tmp_path / "missing" / "file"):
            pytest.fail("refused before anything is computed")


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "file" / "full").mkdir(parents=True)
    with pytest.raises(LotteryError, match="file cannot be written: "):
        with replacing(tmp_path / "file") as temporary:
            temporary.write_bytes(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("unexpected pos 704 vs 598"), "unexpected pos 704"),  # of torch.save
    ],
)
def test_a_full_disk_is_one_sentence(old, error, reason):
    with pytest.raises(LotteryError, match=f"file cannot be written: {reason}"):
        with replacing(old):
            raise error
    assert old.read_bytes() == b"old"


def test_a_write_past_the_limit_of_a_file_leaves_the_old_one(old):
    """The real thing, in a process of its own: what is written is over the limit."""
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        try:
            with replacing(old) as temporary:
                temporary.write_bytes(bytes(4096))
        except LotteryError:
            os._exit(2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_the_file_is_as_public_as_any_other(tmp_path):
    plain, written = tmp_path / "plain", tmp_path / "written"
    plain.write_bytes(b"")
    with replacing(written) as temporary:
        torch.save({}, temporary)
        temporary.chmod(0o600)  # as safetensors does
    assert written.stat().st_mode == plain.stat().st_mode


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    folder = tmp_path / "new" / "folder"
    with alone_in(folder):
        with pytest.raises(LotteryError, match=f"another run is at work in {folder}; wait for it"):
            with alone_in(folder):
                raise AssertionError("held twice")
    with alone_in(folder):
        pass


def test_a_folder_that_is_a_file(old):
    with pytest.raises(LotteryError, match=r"written \(File exists\); give another --out"):
        with alone_in(old):
            raise AssertionError("held a file")


def test_a_name_that_no_system_takes_is_refused(tmp_path):
    for path, why in (
        (tmp_path / ("a" * 300), "cannot be written: File name too long"),
        (tmp_path / ("a" * 300) / "b", "does not exist; create it first"),
    ):
        with pytest.raises(LotteryError, match=why), replacing(path) as temporary:
            temporary.write_bytes(b"new")
    assert not list(tmp_path.iterdir())


# --- reading what anybody may have put there ------------------------------------------------------


@pytest.fixture
def alarm():
    """An end to waiting for a pipe that nobody writes into."""

    def ring(number, frame):
        raise AssertionError("a reader waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_plain_file_is_read_and_nothing_else(tmp_path, alarm):
    (tmp_path / "file").write_bytes(b"a\r\nb\rc\xc3\xa4\n")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert read_bytes(tmp_path / "link", 100) == b"a\r\nb\rc\xc3\xa4\n"
    assert read_text(tmp_path / "file", 100) == "a\nb\ncä\n"
    assert is_plain(tmp_path / "link")
    for path, why in (
        (tmp_path / "pipe", "it is a pipe or a device, expected a regular file"),
        ("/dev/zero", "it is a pipe or a device, expected a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "gone", "No such file or directory"),
        (tmp_path / "file" / "below", "Not a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
        (tmp_path / "a\0b", "its name has a null byte"),
    ):
        assert not is_plain(path)
        with pytest.raises(OSError) as refused:
            read_bytes(path, 100)
        assert refused.value.strerror == why


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError) as refused:
        read_bytes(tmp_path / "file", 4)
    assert refused.value.strerror == "it has 5 bytes, more than 4"
