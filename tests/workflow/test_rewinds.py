"""The recipe of Movva & Zhao 2020 on the toy task: rewinds by round, kept moments, random masks."""

import re
from pathlib import Path

import pytest
import torch
from whole import configure, pending, run, scores, weights

from fairseq_lottery.formats import load_ticket, read_source

pytest.importorskip("fairseq")
pytest.importorskip("snakemake")

pytestmark = pytest.mark.slow


def zeros(path):
    """Matrix -> where it is zero, without the padding row of embeddings, read by torch alone."""
    return {name: value == 0 for name, value in weights(path).items() if value.dim() == 2}


def test_rewinds_by_round_and_masks_that_keep_trained_values(toy_data, tmp_path):
    rounds = [0.2, 0.488]
    configuration = configure(
        tmp_path, toy_data, sparsities=rounds, scope="global", prunable="no-embeddings",
        techniques=[{"lr-rewind": {"moments": "keep"}}, {"random-keep": {"moments": "keep"}},
                    {"random-zero-shot": {"sparsities": [0.488]}}],
        rewind={"0%": 20, "40%": 10}, keep=["tickets"],
    )  # fmt: skip
    run(configuration, "--jobs", 2)
    assert pending(configuration)["stages"] == 0
    out = tmp_path / "runs"
    found = scores(out)
    cells = ("lr-rewind", "random-keep", "random-zero-shot")
    assert set(found) == {
        ("dense", 0.0), ("random-zero-shot", 0.488), *((n, s) for n in cells[:2] for s in rounds)
    }  # fmt: skip
    places = {cell: out / row["training"] for cell, row in found.items()}
    dense = read_source(places["dense", 0.0] / "best.pt").weights
    prunable = found["lr-rewind", 0.2]["prunable"]
    for (name, sparsity), folder in places.items():
        if name == "dense":
            continue
        assert found[name, sparsity]["pruned"] == round(sparsity * prunable)
        own = {m: z for m, z in zeros(folder / "best.pt").items() if "embed" not in m}
        assert sum(int(z.sum()) for z in own.values()) == round(sparsity * prunable)
        ticket = load_ticket(folder / "ticket.safetensors")
        assert (ticket.record["score"] == "random") is (name != "lr-rewind")
        if name == "random-zero-shot":  # the dense model but for the zeros
            for matrix, value in read_source(folder / "best.pt").weights.items():
                mask = ticket.mask.get(matrix, torch.ones_like(value, dtype=torch.bool))
                assert torch.equal(value, dense[matrix] * mask)
            continue
        first = 20 if sparsity < 0.4 else 10
        assert ticket.record["clock"] == "rewind" and ticket.record["update"] == first
        assert set(ticket.moments) == {"exp_avg", "exp_avg_sq"}
        assert ticket.record["moment_numbers"]["step"] > 0
        log = (folder / "train.log").read_text()
        updates = [int(n) for n in re.findall(r"num_updates.{0,4}?(\d+)", log)]
        assert min(updates) > first and max(updates) == 30
    for name in cells[:2]:  # every round prunes survivors of the round before
        less, more = (zeros(places[name, sparsity] / "best.pt") for sparsity in rounds)
        assert all(bool((less[m] <= more[m]).all()) for m in less if "embed" not in m)
    untrained, trained = (
        load_ticket(places[name, 0.488] / "ticket.safetensors").mask for name in cells[:0:-1]
    )
    assert untrained == trained, "controls of one seed and sparsity have one mask"
    ranked, random = (zeros(places[name, 0.488] / "best.pt") for name in cells[:2])
    assert any(not torch.equal(ranked[m], random[m]) for m in ranked)
    assert not list(Path(out).rglob("checkpoint*.pt")), "checkpoints go with their last reader"
