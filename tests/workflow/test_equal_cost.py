"""A whole workflow of techniques that are sparse from the start, at equal cost."""

import json

import pytest
from whole import configure, pending, run, scores

from fairseq_lottery.formats import read_source
from fairseq_lottery.report import size, write_report

pytest.importorskip("fairseq")
pytest.importorskip("snakemake")

pytestmark = pytest.mark.slow

ONE_TRAINING = ("mp", "mp-regrow", "static", "set", "rigl", "snip", "synflow", "movement")


def test_all_of_them_cost_the_same_and_are_reported(toy_data, tmp_path):
    techniques = [*ONE_TRAINING, "slt", {"dense-longer": {"sparsities": [0]}}]
    techniques[techniques.index("synflow")] = {"synflow": {"score_rounds": 3}}
    prune = {"every": 4}
    keys = {"techniques": techniques, "budget": "2x", "rewind": "10%", "prune": prune}
    plan = configure(tmp_path, toy_data, updates=20, **keys)
    run(plan, "--jobs", 2)
    assert pending(plan)["stages"] == 0
    out = tmp_path / "runs"
    scored = scores(out)
    cells = {("dense", 0.0), ("dense-longer", 0.0), ("slt", 0.5)}
    assert set(scored) == cells | {(name, 0.5) for name in ONE_TRAINING}

    masks = {}
    for (technique, sparsity), row in scored.items():
        source = read_source(out / row["training"] / "best.pt")
        if technique in ONE_TRAINING:
            assert row["pruned"] == row["prunable"] * sparsity
            masks[technique] = source.mask.digest()
    assert len(set(masks.values())) == len(masks)  # no technique runs as another

    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    costs = {row["technique"]: row for row in lines if row["kind"] == "cost"}
    assert costs["dense"]["updates"] == 20
    assert {row["updates"] for name, row in costs.items() if name != "dense"} == {40}
    dense = costs.pop("dense")
    # batches of another length of the schedule are others, so not exactly twice
    for name, cost in costs.items():
        assert cost["flops"] == pytest.approx(2 * dense["flops"], rel=0.05), name
    sparse = {name: cost["sparse_flops"] / cost["flops"] for name, cost in costs.items()}
    assert sparse["dense-longer"] == 1
    assert sparse["static"] == pytest.approx(sparse["set"], abs=0.01)
    assert sparse["static"] < sparse["rigl"] < sparse["mp"] < 1  # dense gradients, a dense start
    assert sparse["slt"] > sparse["static"]
    assert sparse["movement"] > sparse["mp-regrow"]  # it reads gradients of pruned weights

    files = write_report([out], tmp_path / "report", size("16cm", 8))
    assert "figures/bleu-test-best-beam2-lenpen1-by-operations.svg" in files
    assert "tables/operations.csv" in files


def test_scores_of_inputs_and_controls_of_masks(toy_data, tmp_path):
    techniques = [
        "snip",
        {"shuffled-masks": {"masks": "snip"}},
        {"fresh-weights": {"masks": "snip"}},
    ]
    techniques += [{name: {"lr": 1e-3}} for name in ("wanda", "sparsegpt")]
    techniques += ["itop", "granet"]
    keys = {"techniques": techniques, "prunable": "no-embeddings", "prune": {"every": 4}}
    run(configure(tmp_path, toy_data, updates=20, **keys), "--jobs", 2)
    out = tmp_path / "runs"
    scored = scores(out)
    names = ("snip", "shuffled-masks", "fresh-weights", "wanda", "sparsegpt", "itop", "granet")
    assert set(scored) == {("dense", 0.0), *((name, 0.5) for name in names)}
    sources = {name: read_source(out / scored[name, 0.5]["training"] / "best.pt") for name in names}
    masks = {name: source.mask for name, source in sources.items()}
    assert masks["fresh-weights"] == masks["snip"] != masks["shuffled-masks"]
    for name in masks["snip"]:
        assert masks["shuffled-masks"].pruned_in(name) == masks["snip"].pruned_in(name)
    found = {masks[name].digest() for name in names if name != "fresh-weights"}
    assert len(found) == len(names) - 1
    for name, keep in masks["wanda"].items():  # each output keeps half of its inputs
        assert keep.sum(dim=1).tolist() == [keep.shape[1] // 2] * keep.shape[0], name
