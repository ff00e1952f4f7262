"""Similarities of recordings: rows of all pairs of layers, controls, and bad input."""

import json

import numpy as np
import pytest
from analysis.written_recordings import random_attention, write_random
from scipy.stats import pearsonr

from fairseq_lottery.analysis.recording.recording import KINDS
from fairseq_lottery.analysis.registry import registered_measures
from fairseq_lottery.analysis.similarity import recorded
from fairseq_lottery.analysis.similarity.compare import compare_models
from fairseq_lottery.analysis.similarity.moments import Moments
from fairseq_lottery.errors import LotteryError

ALL = [
    *("debiased-cka", "linear-cka", "localization", "mixed-sim", "neuron-matches", "neuron-sim"),
    *("pwcca", "svcca"),
    *("attention-localization", "best-head", "head-matches", "head-sim", "head-sim-js", "map-cka"),
    "same-head-sim",
]


@pytest.fixture
def dense(tmp_path):
    return write_random(tmp_path / "dense")


def values(results, measure, **columns):
    return {
        (row["part"], row["layer"], row["other_layer"]): row["value"]
        for row in results.rows
        if row["measure"] == measure and all(row.get(k) == v for k, v in columns.items())
    }


def test_every_measure_has_a_row_for_each_pair_of_layers(dense, tmp_path):
    results = compare_models(dense, write_random(tmp_path / "other", seed=1))
    assert list(dict.fromkeys(row["measure"] for row in results.rows)) == ALL
    assert set(ALL) == set(registered_measures("similarity", "recording", 2))
    pairs = {(layer, other) for layer in (1, 2) for other in (1, 2)}
    for name in ALL:
        places = values(results, name)
        parts = {part for part, *_ in places}
        assert parts == ({"encoder", "decoder"} if name in ALL[:8] else set(KINDS)), name
        assert {(part, *pair) for part in parts for pair in pairs} == set(places), name
    assert results.inputs["first"]["weights"] == dense.record.weights
    assert results.inputs["left_out"] == {}


def test_values_are_those_of_the_arrays(dense, tmp_path):
    other = write_random(tmp_path / "other", seed=1)
    results = compare_models(dense, other, measures=["linear-cka", "neuron-sim", "head-sim"])
    x = dense.activations("decoder", 2).astype(float)
    y = other.activations("decoder", 1).astype(float)
    r = np.abs(np.corrcoef(x.T, y.T)[:6, 6:])
    place = ("decoder", 2, 1)
    assert values(results, "neuron-sim")[place] == pytest.approx(r.max(axis=1).mean())
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    expected = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert values(results, "linear-cka")[place] == pytest.approx(expected)
    best = []
    for head in range(3):
        sums = np.zeros(3)
        for a, b in zip(dense.attention("enc_dec", 2), other.attention("enc_dec", 1)):
            for query in range(a.shape[1]):
                sums += [pearsonr(a[head, query], b[one, query])[0] for one in range(3)]
        best.append(sums.max() / 32)
    assert values(results, "head-sim")["enc_dec", 2, 1] == pytest.approx(np.mean(best), abs=1e-6)


def test_a_recording_without_others_compares_its_own_layers(dense):
    results = compare_models(dense)
    for name in set(ALL) - {"localization", "attention-localization", "best-head"}:
        own = values(results, name)
        assert all(
            value == pytest.approx(1, abs=1e-6)
            for (_, layer, other), value in own.items()
            if layer == other
        ), name
    assert values(results, "linear-cka")["encoder", 1, 2] < 0.9
    assert results.inputs["others"].keys() == {str(dense.folder)}


def test_localization_is_neuron_sim_minus_each_layer_sim(dense, tmp_path):
    results = compare_models(dense, write_random(tmp_path / "other", seed=1))
    single = values(results, "neuron-sim")
    for statistic, name in (("minus-svcca", "svcca"), ("minus-cka", "linear-cka")):
        whole = values(results, name)
        found = values(results, "localization", statistic=statistic)
        assert found == pytest.approx({key: single[key] - whole[key] for key in single})
    heads, maps = values(results, "head-sim"), values(results, "map-cka")
    assert values(results, "attention-localization") == pytest.approx(
        {key: heads[key] - maps[key] for key in heads}
    )


def test_sums_are_computed_once_for_all_measures(dense, tmp_path, monkeypatch):
    counts = {"moments": 0, "cross": 0, "canonical": 0}

    def counted(name, function):
        def call(*args, **more):
            counts[name] += 1
            return function(*args, **more)

        return call

    monkeypatch.setattr(Moments, "of", counted("moments", Moments.of))
    for name, attribute in (("cross", "cross_products"), ("canonical", "canonical")):
        monkeypatch.setattr(recorded, attribute, counted(name, getattr(recorded, attribute)))
    others = [write_random(tmp_path / f"other{seed}", seed=seed) for seed in (1, 2)]
    compare_models(dense, *others)
    # 2 parts x 2 layers x 3 recordings; 2 parts x 2 pairs of models; 4 pairs of layers of each
    assert counts == {"moments": 12, "cross": 4, "canonical": 16}


def test_several_models_are_named_and_have_extremes_over_them(dense, tmp_path):
    near = write_random(
        tmp_path / "near", seed=2, activations_encoder_1=dense.activations("encoder", 1)
    )
    far = write_random(tmp_path / "far", seed=3)
    results = compare_models(dense, near, far)
    place = ("encoder", 1, 1)
    one = values(results, "neuron-sim", other=str(near.folder))[place]
    two = values(results, "neuron-sim", other=str(far.folder))[place]
    assert one == pytest.approx(1) and two < 0.6
    # in encoder layer 1, every neuron's best match is itself in near
    assert values(results, "neuron-sim", statistic="max-corr")[place] == pytest.approx(one)
    assert values(results, "neuron-sim", statistic="min-corr")[place] == pytest.approx(two)
    names = {row["other"] for row in results.rows}
    assert names == {str(near.folder), str(far.folder), "all"}
    place = ("encoder", 2, 2)
    pair = [values(results, "neuron-sim", other=str(o.folder))[place] for o in (near, far)]
    assert values(results, "neuron-sim", statistic="max-corr")[place] > max(pair)
    assert values(results, "neuron-sim", statistic="min-corr")[place] < min(pair)


def test_random_controls_are_less_similar_than_a_model_with_noise(dense, tmp_path):
    noisy = {
        f"activations_{part}_{layer}": dense.activations(part, layer)
        + np.random.default_rng(9).normal(size=(32, 6)) * 0.3
        for part in ("encoder", "decoder")
        for layer in (1, 2)
    }
    pruned = write_random(tmp_path / "pruned", seed=4, **noisy)
    control = write_random(tmp_path / "control", seed=5)
    results = compare_models(dense, pruned, control)
    for name in ("neuron-sim", "neuron-matches", "mixed-sim", "linear-cka", "svcca", "pwcca"):
        one, two = (values(results, name, other=str(o.folder)) for o in (pruned, control))
        assert all(one[key] > two[key] for key in one if key[1] == key[2]), name


def test_pruned_heads_are_not_compared(dense, tmp_path):
    maps = [np.array(one) for one in dense.attention("enc_self", 1)]
    pruned = write_random(
        tmp_path / "pruned", seed=1, pruned=[("enc_self", 1, 2)], attention_enc_self_1=maps
    )
    names = ["head-sim", "head-matches", "same-head-sim", "best-head", "map-cka"]
    results = compare_models(dense, pruned, measures=names)
    place = ("enc_self", 1, 1)
    # heads 1 and 3 are found again, head 2 is not
    assert values(results, "head-matches")[place] == pytest.approx(2 / 3)
    assert values(results, "head-sim")[place] < 0.9
    assert values(results, "same-head-sim")[place] == pytest.approx(1)
    assert values(results, "map-cka")[place] < 0.9
    found = [
        (row["head"], row["other_head"])
        for row in results.rows
        if row["measure"] == "best-head" and tuple(row.values())[1:4] == place
    ]
    assert [found[0], found[2]] == [(1, 1), (3, 3)] and found[1][1] in (1, 3)
    results = compare_models(pruned, dense, measures=names)
    for name in ("head-sim", "head-matches", "same-head-sim"):
        assert values(results, name)[place] == pytest.approx(1), name


def test_a_layer_whose_heads_are_all_pruned_has_no_rows(dense, tmp_path):
    dead = write_random(tmp_path / "dead", pruned=[("dec_self", 2, head) for head in (1, 2, 3)])
    results = compare_models(dense, dead, measures=["head-sim", "map-cka", "head-matches"])
    for name in ("head-sim", "map-cka", "head-matches"):
        places = values(results, name)
        assert ("dec_self", 1, 1) in places and ("dec_self", 2, 2) not in places


def test_a_layer_of_constants_has_no_rows(dense, tmp_path):
    dead = write_random(tmp_path / "dead", activations_encoder_2=np.ones((32, 6)))
    results = compare_models(dense, dead)
    for name in ALL[:8]:
        assert {key for key in values(results, name) if key[0] == "encoder"} == {
            ("encoder", 1, 1),
            ("encoder", 2, 1),
        }, name


def test_models_of_other_sizes_are_compared_but_have_no_common_numbers(dense, tmp_path):
    wide = write_random(tmp_path / "wide", width=8, heads=5, layers=3)
    results = compare_models(dense, wide)
    assert len(values(results, "linear-cka")) == 12
    assert values(results, "neuron-matches") == {}
    assert 0 <= values(results, "head-matches")["enc_self", 2, 3] <= 1


def test_few_words_leave_measures_out_unless_they_are_named(tmp_path):
    a, b = (
        write_random(tmp_path / str(seed), seed=seed, lengths=(5, 5), width=6) for seed in (1, 2)
    )
    results = compare_models(a, b)
    assert set(results.inputs["left_out"]) == {"svcca", "pwcca", "localization"}
    assert "more than 12 words" in results.inputs["left_out"]["svcca"]
    assert len(values(results, "linear-cka")) == 8
    with pytest.raises(LotteryError, match="more than 12 words"):
        compare_models(a, b, measures=["linear-cka", "svcca"])


def test_bad_inputs_are_refused(dense, tmp_path):
    other = write_random(tmp_path / "other", lengths=(5, 9, 7, 12))
    with pytest.raises(LotteryError, match="different source words"):
        compare_models(dense, other)
    with pytest.raises(LotteryError, match="unknown"):
        compare_models(dense, measures=["nothing"])
    with pytest.raises(LotteryError, match="effective-rank does not fit"):
        compare_models(dense, measures=["effective-rank"])
    with pytest.raises(LotteryError, match="given twice"):
        compare_models(dense, other, other)
    broken = np.array(dense.activations("encoder", 1))
    broken[3, 2] = np.nan
    nan = write_random(tmp_path / "nan", activations_encoder_1=broken)
    with pytest.raises(LotteryError, match="encoder 1 of .*NaN"):
        compare_models(dense, nan, measures=["linear-cka"])


def test_half_precision_changes_little(tmp_path):
    chance = np.random.default_rng(0)
    maps = [random_attention(chance, "enc_self", n, n, 3) for n in (5, 9, 7, 11)]
    one = write_random(tmp_path / "one", attention_enc_self_1=maps)
    half = [np.float16(a) for a in maps]
    two = write_random(tmp_path / "two", attention_enc_self_1=half)
    results = compare_models(one, two, measures=["head-sim", "head-sim-js"])
    for name in ("head-sim", "head-sim-js"):
        assert values(results, name)["enc_self", 1, 1] == pytest.approx(1, abs=1e-4)


def test_results_are_saved_as_a_table(dense, tmp_path):
    results = compare_models(dense, measures=["linear-cka"])
    results.save(tmp_path / "results")
    lines = (tmp_path / "results" / "similarity.csv").read_text().splitlines()
    assert lines[0] == "measure,part,layer,other_layer,value"
    assert len(lines) == 9
    saved = json.loads((tmp_path / "results" / "analysis.json").read_text())
    assert saved["inputs"]["first"]["recording"] == str(dense.folder)
