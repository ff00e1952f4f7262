import os

import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.folders import replacing_folder


def make(path, content, **flags):
    with replacing_folder(path, "model.bin", **flags) as (new, private):
        assert new.parent.parent == path.parent and private.stat().st_mode & 0o777 == 0o700
        (private / "secret").write_text("on the way")
        (new / "model.bin").write_text(content)


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_new_folder_and_another_in_its_place(tmp_path):
    make(tmp_path / "out", "1")
    with pytest.raises(LotteryError, match="out exists already"):
        make(tmp_path / "out", "2")
    assert (tmp_path / "out" / "model.bin").read_text() == "1"
    make(tmp_path / "out", "2", overwrite=True)
    assert (tmp_path / "out" / "model.bin").read_text() == "2"
    assert listing(tmp_path) == ["out", "out/model.bin"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [LotteryError("no"), KeyboardInterrupt(), OSError(28, "full")])
def test_an_error_leaves_what_was_there(tmp_path, error):
    make(tmp_path / "out", "1")
    with pytest.raises((LotteryError, KeyboardInterrupt)):
        with replacing_folder(tmp_path / "out", "model.bin", True) as (new, _):
            (new / "model.bin").write_text("half")
            raise error
    assert (tmp_path / "out" / "model.bin").read_text() == "1"
    assert listing(tmp_path) == ["out", "out/model.bin"]


def test_only_folders_of_its_kind_are_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("home")
    (tmp_path / "empty").mkdir()
    for name, said in (("home", "but no model.bin"), ("file", "is not a"), ("link", "is not a"),
                       ("none/out", "does not exist")):  # fmt: skip
        with pytest.raises(LotteryError, match=said):
            make(tmp_path / name, "1", overwrite=True)
    make(tmp_path / "empty", "1", overwrite=True)
    assert listing(tmp_path) == [
        *("empty", "empty/model.bin", "file", "home", "home/letter", "link"),
    ]
