"""How often each command reads each of its files: once, however much it needs of it."""

import pytest
from small import Run, load, optimizer_state, save_checkpoint, weights

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import container, save_ticket
from fairseq_lottery.formats.checkpoints import checkpoint

DRAWN = ("--sparsity", "0.5", "--out", "new.safetensors")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkpoint with its optimizer's state, two snapshots and a ticket with moments."""
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path)
    state = optimizer_state(weights())
    save_checkpoint(run.last, run.trained, last_optimizer_state=state)
    save_ticket(tmp_path / "slt.safetensors", run.draw(moments="keep", reset="keep"))
    save_checkpoint(tmp_path / "other.pt", run.trained)
    return tmp_path


@pytest.fixture
def reads(folder, monkeypatch):
    """The names of files in the order in which they were read."""
    found = []

    def counted(read):
        def reading(path, *more):
            found.append(str(path).rpartition("/")[2])
            return read(path, *more)

        return reading

    monkeypatch.setattr(checkpoint, "safe_load", counted(checkpoint.safe_load))
    monkeypatch.setattr(container, "load", counted(container.load))
    return found


@pytest.mark.parametrize(
    "command, files",
    [
        (("ticket", "--mask-from", "last.pt", *DRAWN), ["last.pt"]),
        (("ticket", "--mask-from", "last.pt", "--moments", "keep", "--reset", "keep", *DRAWN),
         ["last.pt"]),
        (("ticket", "--mask-from", "last.pt", "--start-from", "snapshot_5.safetensors", *DRAWN),
         ["last.pt", "snapshot_5.safetensors"]),
        (("ticket", "--mask-from", "slt.safetensors", "--moments", "keep", *DRAWN),
         ["slt.safetensors"]),
        (("inspect", "last.pt"), ["last.pt"]),
        (("inspect", "slt.safetensors"), ["slt.safetensors"]),
        (("inspect", "snapshot_5.safetensors"), ["snapshot_5.safetensors"]),
        (("inspect", ".", "--check"),
         ["last.pt", "other.pt", "slt.safetensors", "snapshot_0.safetensors",
          "snapshot_5.safetensors"]),
        (("average", "last.pt", "other.pt", "--out", "mean.pt"), ["last.pt", "other.pt"]),
    ],
)  # fmt: skip
def test_each_file_is_read_once(reads, command, files):
    assert main(list(command)) == 0
    assert sorted(reads) == files


@pytest.mark.parametrize("to", ["dense", "compact"])
@pytest.mark.parametrize("name", ["last.pt", "slt.safetensors", "snapshot_5.safetensors"])
def test_export_reads_its_file_once(reads, name, to):
    pytest.importorskip("fairseq")
    from fairseq_lottery.export.checkpoint_forms import export

    out = "out.pt" if (name, to) == ("last.pt", "dense") else "out.safetensors"
    export(name, out, to)
    assert reads == [name]


def test_a_compact_model_is_read_once(reads):
    pytest.importorskip("fairseq")
    from fairseq_lottery.export.checkpoint_forms import export

    export("last.pt", "model.safetensors", "compact")
    reads.clear()
    assert main(["inspect", "model.safetensors"]) == 0
    export("model.safetensors", "again.pt")
    assert reads == ["model.safetensors"] * 2
    assert load("again.pt")["last_optimizer_state"] is None
