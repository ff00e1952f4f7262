import pytest
from hostile import compacts, containers, watch

from fairseq_lottery.formats import container
from fairseq_lottery.formats.compact_model import KIND, PackedModel
from fairseq_lottery.formats.source import outline_of, read_source
from fairseq_lottery.tickets.inspection import inspect_file


def read(path):
    """All that is read of a compact file, and that it can be shown."""
    described = {**inspect_file(path), "file": "", "bytes": 0}
    kind = container.kind_of(path)
    tensors, record = container.load(path, kind)
    if kind == KIND:  # read in a second way
        packed = PackedModel(path)
        assert outline_of(packed).shapes == read_source(path).shapes
        described["taken"] = [packed.take(name) for name in list(packed.weights)]
    return read_source(path).digest() + container.digest(tensors, record) + repr(described)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return {
        seed: compacts.good_files(tmp_path_factory.mktemp("good"), seed)
        for seed in (0, 1)  # the second is of another model
    }


def test_the_good_files_use_every_way_of_coding(files):
    used = {name for path in files[0].values() for name in containers.Good(path).stored}
    assert used >= {"mask.bits", "mask.gaps", "signs", "layout", "uint8.0", "float32.3"}


@pytest.mark.parametrize("kind", ["ticket", "signs", "snapshot", "model"])
def test_every_bad_file_is_refused_in_one_sentence(files, tmp_path, kind):
    path = files[0][kind]
    inputs = compacts.all_of(path, files[1][kind])
    outcomes = watch.run(read, inputs, tmp_path, read(path))
    watch.judged(f"compact {kind}", outcomes, least=500)
