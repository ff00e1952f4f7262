"""What readers take of memory, measured: small files that stand for much, at every limit."""

import pytest
import torch
from hostile import archives, checkpoints, containers, floods, runs, watch
from hostile.test_archives import LINE
from hostile.test_choices import read_parts, read_scores
from hostile.test_containers import read_ticket
from small import Run, save_checkpoint, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.formats import read_source, save_ticket
from fairseq_lottery.tickets.pack import pack, unpack


@pytest.fixture(scope="module")
def ticket(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "ticket.safetensors"
    save_ticket(path, Run(path.parent, layers=1).draw(moments="keep", reset="keep"))
    return path


def test_containers(ticket, tmp_path):
    good = containers.Good(ticket)
    large = floods.dictionaries(good)
    outcomes = watch.run(
        read_ticket, floods.headers(good) | large, tmp_path, read_ticket(ticket), signed=set(large)
    )
    watch.judged("large tickets", outcomes, least=11)


def test_archives(ticket, tmp_path):
    path = tmp_path / archives.NAME
    (tmp_path / "train.txt").write_text(LINE)
    pack(ticket, path, tmp_path / "train.txt")
    inputs = floods.archives(archives.Good(path))

    def read(path):
        steps = unpack(path, path.parent / "out")[1]
        watch.remove(path.parent / "out")
        return steps

    signed = {name for name in inputs if name.startswith("README")}  # which may say anything
    outcomes = watch.run(read, inputs, tmp_path, signed=signed)
    watch.judged("large archives", outcomes, least=len(inputs) - len(signed))


def test_checkpoints(tmp_path):
    save_checkpoint(tmp_path / checkpoints.NAME, weights())
    data = checkpoints.saved(torch.load(tmp_path / checkpoints.NAME, weights_only=False))
    inputs = floods.pickles(data)
    outcomes = watch.run(lambda p: read_source(p).digest(), inputs, tmp_path)
    watch.judged("large checkpoints", outcomes, least=len(inputs))


def test_json(tmp_path):
    def read(path):
        try:
            return str(len(read_json(path.read_text())))
        except ValueError as error:
            raise LotteryError(str(error)) from error

    inputs = floods.jsons(floods.texts)
    outcomes = watch.run(read, inputs, tmp_path, signed=set(inputs))
    assert watch.judged("large JSON", outcomes, least=1)["another"] > 5


@pytest.mark.parametrize("read", [read_parts, read_scores])
def test_choices_and_scores(tmp_path, read):
    inputs = floods.jsons(floods.heavy)
    watch.judged("large choices", watch.run(read, inputs, tmp_path), least=len(inputs))


@pytest.mark.parametrize("name", ["plan.json", "records.jsonl", "seed1/slt/train.json",
                                  "seed1/slt/best/scores.jsonl"])  # fmt: skip
def test_runs(tmp_path, name):
    pytest.importorskip("sacrebleu")
    from hostile.test_runs import read_report, read_workflow

    read = read_report if name == "records.jsonl" else read_workflow
    good = read(runs.folder_with()(tmp_path / "good"))
    inputs = floods.workflows(name)
    outcomes = watch.run(read, inputs, tmp_path, good, signed=set(inputs))
    watch.judged(f"large {name}", outcomes, least=1)


def test_memory_is_measured(tmp_path):
    """A reader that takes 100 MB and gives it back is seen to have had them."""

    def read(path):
        return str(sum(bytearray(b"x" * (100 << 20))[:1]))

    outcomes = watch.run(read, {"one": lambda folder: folder}, tmp_path, good="120")
    assert outcomes[0].result == "equal" and 100 << 20 <= outcomes[0].memory < 300 << 20
