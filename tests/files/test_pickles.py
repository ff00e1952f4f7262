import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import Counter

import pytest
import torch

from fairseq_lottery.files import pickles
from fairseq_lottery.files.pickles import names_in


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


@pytest.mark.parametrize("zipped", [True, False])
def test_everything_that_is_asked_for_is_named(path, zipped):
    state = {"w": torch.ones(2), "of": Counter("a"), "x": os.getcwd}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert names_in(path) == {
        ("torch._utils", "_rebuild_tensor_v2"), ("torch", "FloatStorage"),
        ("collections", "OrderedDict"), ("collections", "Counter"), ("posix", "getcwd"),
    }  # fmt: skip


def test_a_damage_that_only_a_checksum_sees_is_seen(path):
    torch.save({"w": torch.arange(1000.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.find(torch.arange(1000.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    assert torch.load(path)["w"].shape == (1000,), "torch does not look"
    with pytest.raises(ValueError, match=r"the checksum of \w+/data/0 is wrong"):
        names_in(path)


def test_an_archive_that_torch_does_not_write_is_refused(path):
    torch.save({"w": torch.ones(2)}, path)
    with zipfile.ZipFile(path) as archive:
        content = [(info.filename, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in content:
            archive.writestr(name, text)
    with pytest.raises(ValueError, match="it is compressed, as no checkpoint is"):
        names_in(path)


def test_names_that_are_put_together_are_refused(path):
    path.write_bytes(b"\x80\x04\x8c\x02os\x8c\x06getcwd\x93.")
    assert pickle.loads(path.read_bytes()) is os.getcwd
    with pytest.raises(pickle.UnpicklingError, match="STACK_GLOBAL is not allowed"):
        names_in(path)


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_frame_is_refused_for_it_hides_what_follows(path, protocol):
    """pickle goes on behind a large frame, a reader of opcodes behind the pickle's end in it."""
    hidden, harmless = pickle.dumps(os.getcwd, protocol=0), b"N." * 10**5
    frame = b"\x80\x04\x95" + struct.pack("<Q", len(harmless))
    path.write_bytes(frame + harmless + hidden)
    with open(path, "rb") as file:
        assert pickle.load(file) is None and pickle.load(file) is os.getcwd
    with pytest.raises(pickle.UnpicklingError, match="FRAME is not allowed"):
        names_in(path)
    path.write_bytes(pickle.dumps([os.getcwd] * 9, protocol=protocol))
    with pytest.raises(pickle.UnpicklingError, match="FRAME is not allowed"):
        names_in(path)


@pytest.mark.parametrize("place", range(5))
def test_all_five_pickles_of_the_old_format_are_looked_at(path, place):
    pickles = [b"N."] * 5
    pickles[place] = pickle.dumps(os.getcwd, protocol=2)
    path.write_bytes(b"".join(pickles))
    assert names_in(path) == {("posix", "getcwd")}


def test_a_tar_archive_that_begins_with_harmless_pickles_is_refused(path):
    """torch 1.12 opens it as one, and loads a member of it."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in (("N." * 8, b""), ("pickle", pickle.dumps(os.getcwd, protocol=2))):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    with pytest.raises(ValueError, match="it is a tar archive"):
        names_in(path)


# --- archives that torch reads in another way than Python does ------------------------------------


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def write(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, text in members:
            archive.writestr(zipfile.ZipInfo(name), text)


@pytest.fixture
def good(path):
    """The members of a checkpoint that is written anew, which is accepted as well."""
    torch.save({"w": torch.ones(2)}, path)
    members = members_of(path)
    write(path, members)
    assert ("torch", "FloatStorage") in names_in(path) and torch.load(path)["w"].sum() == 2
    return members


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("end", ["data/0", "DATA/0", "version"])
def test_a_member_that_is_there_twice_is_refused(path, good, end):
    folder = good[0][0].partition("/")[0]
    write(path, [*good, (f"{folder}/{end}", b"12345678")])
    with pytest.raises(ValueError, match="a member is repeated"):
        names_in(path)


def test_a_pickle_under_another_name_is_refused(path, good):
    """torch does not tell DATA.PKL from data.pkl; with constants.pkl it would run a program."""
    renamed = [(name.replace("data.pkl", "DATA.PKL"), text) for name, text in good]
    write(path, renamed)
    assert torch.load(path)["w"].sum() == 2, "torch reads it"
    for members in (renamed, [*good, ("archive/constants.pkl", b"N.")], good[1:]):
        write(path, members)
        with pytest.raises(ValueError, match="exactly one pickle"):
            names_in(path)


@pytest.mark.parametrize("written", ["by torch", "by zipfile"])
def test_an_archive_with_two_directories_is_refused(path, good, written):
    """Python finds a directory by where the archive ends, torch by what the end says."""
    if written == "by torch":
        torch.save({"w": torch.ones(2)}, path)
    content = path.read_bytes()
    assert names_in(path)
    for other in (
        b"PK\3\4" + bytes(8) + content,
        content[:-2] + b"\4\0PK\5\6",
        content[:-6] + struct.pack("<I", 4) + content[-2:],
        content[:-14] + struct.pack("<H", 1) + content[-12:],
    ):
        path.write_bytes(other)
        with pytest.raises((ValueError, zipfile.BadZipFile)):
            names_in(path)
    path.write_bytes(b"PK\3\4" + bytes(8) + content)
    assert members_of(path), "Python reads it all the same"
    with pytest.raises(ValueError, match="its directory is not where torch writes it"):
        names_in(path)


def test_a_text_that_claims_gigabytes_is_not_waited_for(path):
    path.write_bytes(b"\x80\x02X" + (2**31 - 1).to_bytes(4, "little") + b"x")
    with pytest.raises(ValueError, match="but only 1 remain"):
        names_in(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="pickle exhausted before seeing STOP"):
        names_in(path)


def test_more_operations_than_any_checkpoint_has_are_refused(path, monkeypatch):
    """Those of all five pickles of the old format count together."""
    monkeypatch.setattr(pickles, "_MOST", 10)
    path.write_bytes(b"\x80\x02]." * 5)
    with pytest.raises(ValueError, match="its pickle has more than 10 operations"):
        names_in(path)
    monkeypatch.setattr(pickles, "_MOST", 15)
    assert names_in(path) == set()
