import pytest
from hostile import archives, watch
from small import Run

from fairseq_lottery.formats import save_ticket
from fairseq_lottery.tickets.pack import pack, unpack

LINE = "fairseq-train /data/bin -s en -t de --task translation_lottery --ticket t --lr 7e-4"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    save_ticket(folder / "slt.safetensors", Run(folder).draw(sparsity=0.9))
    (folder / "train.txt").write_text(LINE)
    (folder / "spm.model").write_bytes(b"\n\x06pieces" * 40)
    pack(
        folder / "slt.safetensors",
        folder / archives.NAME,
        folder / "train.txt",
        subwords=[folder / "spm.model"],
    )
    return folder / archives.NAME


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_every_bad_archive_is_refused_in_one_sentence(archive, tmp_path):
    def read(path):
        """Unpacked beside the input, where anything that is left behind is seen."""
        out = path.parent / "out"
        ticket, steps = unpack(path, out)
        found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*.*")}
        watch.remove(out)
        return ticket.digest() + steps + repr(sorted(found.items()))

    good_place = tmp_path / "good"
    good_place.mkdir()
    (good_place / archives.NAME).write_bytes(archive.read_bytes())
    good = read(good_place / archives.NAME)
    watch.judged("packed archive", watch.run(read, archives.all_of(archive), tmp_path, good), 150)
