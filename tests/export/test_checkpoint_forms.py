"""Checkpoints and tickets of real trainings in their other forms, and back."""

import pytest
import torch
from toy import PRUNABLE, drawing, same

from fairseq_lottery.formats import load_ticket, read_checkpoint, read_source, ticket_digest
from fairseq_lottery.tickets.inspection import inspect_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(toy_data, tmp_path_factory, dense):
    """A training from a ticket at 80 %."""
    from toy import Toy

    toy = Toy(toy_data, tmp_path_factory.mktemp("export"))
    toy.train("run", *drawing(dense, 0.8), updates=10).ok()
    return toy.path("run")


@pytest.fixture(scope="module")
def export():
    import fairseq  # noqa: F401 - first, so that the plugin registers

    from fairseq_lottery.export.checkpoint_forms import export

    return export


def test_a_checkpoint_there_and_back(run, export, tmp_path):
    source = run / "checkpoint_last.pt"
    small = tmp_path / "small.safetensors"
    export(source, tmp_path / "dense.pt")
    export(source, small, "compact")
    export(small, tmp_path / "back.pt")
    once, twice = (read_checkpoint(tmp_path / name) for name in ("dense.pt", "back.pt"))
    assert list(once["model"]) == list(twice["model"])
    assert same(once, twice)
    export(tmp_path / "dense.pt", tmp_path / "again.safetensors", "compact")
    masks = [
        read_source(tmp_path / name).mask for name in ("small.safetensors", "again.safetensors")
    ]
    assert masks[0].pruned == masks[1].pruned == read_source(source).mask.pruned
    found = inspect_file(small)
    assert found["sparsity"] == pytest.approx(0.8, abs=1e-3) and found["prunable"] == PRUNABLE
    # exponents are skewed: that saves more than the settings and the vocabulary take
    assert found["bytes"] < found["bound_bytes"] < 0.3 * found["dense_bytes"]


def test_a_compact_ticket_is_the_same_ticket(run, export, tmp_path, toy):
    source, small = run / "ticket.safetensors", tmp_path / "small.safetensors"
    export(source, small, "compact")
    assert small.stat().st_size < 0.65 * source.stat().st_size
    assert ticket_digest(small) == ticket_digest(source)
    assert load_ticket(small).digest() == load_ticket(source).digest()
    export(small, tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == source.read_bytes()
    for name, ticket in (("plain", source), ("compact", small)):
        toy.train(name, "--ticket", ticket, updates=4).ok()
    states = [toy.load(name, "checkpoint_last.pt") for name in ("plain", "compact")]
    assert same(states[0]["model"], states[1]["model"])
    # ... and a run of one goes on with the other
    toy.train("plain", "--ticket", small, updates=6).ok()


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_rounding_is_asked_for_and_told(run, export, tmp_path, kind):
    source, exact, small = (
        run / "ticket.safetensors",
        tmp_path / "e.safetensors",
        tmp_path / "s.safetensors",
    )
    export(source, exact, "compact")
    export(source, small, "compact", kind)
    assert small.stat().st_size < 0.8 * exact.stat().st_size
    ticket = load_ticket(small)
    assert ticket.record["rounded"] == kind
    assert ticket.mask == load_ticket(source).mask
    assert ticket_digest(small) != ticket_digest(source)
    found = inspect_file(small)
    assert found["number_bytes"] == 2 and found["dense_bytes"] == 2 * found["parameters"]


def test_negative_zeros_are_told_and_dropped_on_request(run, export, tmp_path, capsys):
    """torch's own pruning multiplies: where a negative weight was, there is -0.0."""
    from fairseq_lottery.cli.main import main
    from fairseq_lottery.errors import LotteryError

    export(run / "checkpoint_last.pt", tmp_path / "dense.pt")
    state = read_checkpoint(tmp_path / "dense.pt")
    matrices = inspect_file(tmp_path / "dense.pt")["matrices"]
    count = 0
    for name, first in list(state["model"].items()):
        if first.dim() == 2:
            state["model"][name] = first.masked_fill(first == 0, -0.0)
            count += int((first == 0).sum()) * (name in matrices)
    torch.save(state, tmp_path / "multiplied.pt")
    sizes = {}
    for name, source, flags in (
        ("plain", "dense", []), ("kept", "multiplied", []),
        ("dropped", "multiplied", ["--round", "zeros"]),
    ):  # fmt: skip
        out = tmp_path / f"{name}.safetensors"
        path = str(tmp_path / f"{source}.pt")
        assert main(["export", path, "--to", "compact", "--out", str(out), *flags]) == 0
        said = capsys.readouterr().out
        told = f"{count} weights are -0.0, which"
        assert (told in said) == (name == "kept")
        sizes[name] = out.stat().st_size
        assert main(["inspect", str(out)]) == 0
        assert (told in capsys.readouterr().out) == (name == "kept")
    assert sizes["dropped"] == sizes["plain"] < 0.8 * sizes["kept"]
    back = [tmp_path / f"{name}.back.pt" for name in ("plain", "dropped", "kept")]
    for path in back:
        export(tmp_path / f"{path.name.split('.')[0]}.safetensors", path)
    plain, dropped, kept = (read_checkpoint(path)["model"] for path in back)
    assert same(plain, dropped)
    assert same(kept, state["model"]) and not same(kept, plain)
    with pytest.raises(LotteryError, match="is a model, but --round zeros requires"):
        export(tmp_path / "kept.safetensors", tmp_path / "o.safetensors", "compact", "zeros")
