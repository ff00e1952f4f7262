import json

import pytest
from hostile import containers, watch
from small import Run, full_mask, save_snapshot_of, weights

from fairseq_lottery.formats import load_ticket, read_source, save_ticket
from fairseq_lottery.tickets.inspection import inspect_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    ticket = Run(folder, layers=1).draw(moments="keep", reset="keep")
    save_ticket(folder / "ticket.safetensors", ticket)
    save_snapshot_of(folder / "snapshot.safetensors", weights(layers=1), mask=full_mask(layers=1))
    return folder


def read_ticket(path):
    """The ticket, and what commands say of it."""
    described = {**inspect_file(path), "file": "", "bytes": 0}
    return load_ticket(path).digest() + json.dumps(described, allow_nan=False)


def read_snapshot(path):
    described = {**inspect_file(path), "file": "", "bytes": 0}
    assert read_source(path).record["update"] is not None
    return read_source(path).digest() + json.dumps(described, allow_nan=False)


@pytest.mark.parametrize("kind, read", [("ticket", read_ticket), ("snapshot", read_snapshot)])
def test_every_bad_file_is_refused_in_one_sentence(folder, tmp_path, kind, read):
    path = folder / f"{kind}.safetensors"
    inputs = containers.all_of(path)
    watch.judged(kind, watch.run(read, inputs, tmp_path, read(path)), least=250)
