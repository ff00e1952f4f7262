import os
import pickle
import zipfile
from collections import Counter

import pytest
import torch

from fairseq_lottery.pickles import names_in


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


@pytest.mark.parametrize("protocol", [4, 5])
def test_names_that_are_put_together_are_refused(path, protocol):
    path.write_bytes(pickle.dumps(os.getcwd, protocol=protocol))
    with pytest.raises(pickle.UnpicklingError, match="STACK_GLOBAL is not allowed"):
        names_in(path)


def test_a_text_that_claims_gigabytes_is_not_waited_for(path):
    path.write_bytes(b"\x80\x02X" + (2**31 - 1).to_bytes(4, "little") + b"x")
    with pytest.raises(ValueError, match="but only 1 remain"):
        names_in(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        names_in(path)
