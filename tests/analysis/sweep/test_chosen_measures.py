"""The measures of a sweep that have settings: probes and roles, on recordings written by hand."""

import numpy as np
import pytest
from analysis.written_recordings import random_maps, write_activations, write_maps

from fairseq_lottery.analysis.sweep.chosen_measures import choose_measures
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.errors import LotteryError

#: of the three words of every sentence
LABELS = ["x", "y", "x"]


def test_labels_make_a_probe_of_every_layer(tmp_path):
    words = [[f"a{n}", f"b{n}", f"c{n}"] for n in range(200)]
    chance = np.random.default_rng(1)
    signs = np.array([1.0 if label == "x" else -1.0 for label in LABELS * 200])
    layer = chance.normal(size=(600, 16)) + signs[:, None]
    layers = {part: [layer, layer] for part in ("encoder", "decoder")}
    recording = write_activations(tmp_path / "r", words, layers)
    file = tmp_path / "pos"
    text = ("\n".join(f"{w}\t{label}" for w, label in zip(own, LABELS)) for own in words)
    file.write_text("\n\n".join(text) + "\n")
    probe = choose_measures(Settings(labels={"pos": str(file)}))["probe"]
    rows = [row for row in probe.rows(recording) if row["statistic"] == "accuracy"]
    assert [(row["task"], row["part"], row["layer"]) for row in rows] == [
        ("pos", "encoder", 1), ("pos", "encoder", 2)
    ]  # fmt: skip
    assert min(row["value"] for row in rows) > 0.9


def test_sieves_are_those_of_the_sweep(tmp_path):
    recording = write_maps(tmp_path / "r", ["a b c d", "b a d c f"], maps=random_maps(1))
    measures = choose_measures(Settings(sieves=("delimiter",)))
    roles = {row["role"] for row in measures["sieve-bias"].rows(recording)}
    assert roles == {"delimiter"}
    with pytest.raises(LotteryError, match="'nothing'"):
        choose_measures(Settings(sieves=("nothing",)))
    with pytest.raises(LotteryError, match="missing"):
        choose_measures(Settings(labels={"pos": str(tmp_path / "missing")}))
