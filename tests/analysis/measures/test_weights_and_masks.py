"""Measures of files of models: their rows on a small Transformer, by hand and by loops."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom
from small import MATRICES, PRUNABLE, full_mask, save_checkpoint, save_snapshot_of, weights

from fairseq_lottery.analysis import ModelFile, find_measure, registered_measures
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, overlap, select

FC1 = "encoder.layers.0.fc1.weight"


def pruned(path, parameters, sparsity, scores=None):
    """A checkpoint under the mask of its largest weights."""
    mask = select(scores or {n: w.abs() for n, w in parameters.items()}, full_mask(), sparsity)
    kept = {n: w * mask[n] if n in mask else w for n, w in parameters.items()}
    return ModelFile.open(save_checkpoint(path, kept, mask=mask))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    start = ModelFile.open(save_snapshot_of(folder / "start.safetensors", weights(1), 0))
    end = {name: w + 0.5 * weights(2)[name] for name, w in weights(1).items()}
    return {
        "start": start,
        "dense": ModelFile.open(save_checkpoint(folder / "dense.pt", end)),
        "end": pruned(folder / "end.pt", end, 0.75),
        "other": pruned(folder / "other.pt", weights(3), 0.5),
    }


def values(name, *given):
    """(matrix or None, statistic) -> value."""
    rows = list(find_measure(name).rows(*given))
    found = {(row.get("matrix"), row.get("statistic")): row["value"] for row in rows}
    assert len(found) == len(rows), "each row has a place of its own"
    return found


def test_they_are_measures_of_commands_that_take_files():
    assert {"mask-overlap", "mask-overlap-z", "sign-agreement", "weight-distance"} <= set(
        registered_measures("similarity", "file", 2)
    )
    of_files = registered_measures("complexity", "file", 1)
    assert {"dead-rows", "dead-columns", "survivor-norm"} <= set(of_files)


def test_rows_say_where_a_matrix_is(models):
    rows = list(find_measure("dead-rows").rows(models["end"]))
    one = [row for row in rows if row.get("matrix") == FC1]
    assert [(row["part"], row["layer"]) for row in one] == [("enc_ffn", 1)] * 2
    parts = Counter(row.get("part") for row in rows)
    assert parts == {None: 2, "embedding": 2, "enc_ffn": 8, "dec_ffn": 8, "enc_self": 16,
                     "dec_self": 16, "enc_dec": 16}  # fmt: skip
    assert all("layer" in row for row in rows if row.get("part") not in (None, "embedding"))


def test_changes_are_those_of_a_loop(models):
    start, end = models["start"], models["end"]
    agreement, distance = (values(n, start, end) for n in ("sign-agreement", "weight-distance"))
    relative = values("relative-weight-distance", start, end)
    assert len(agreement) == len(distance) == 2 * (MATRICES + 1)
    a, b = start.weights[FC1].tolist(), end.weights[FC1].tolist()
    pairs = [(x, y) for row_a, row_b in zip(a, b) for x, y in zip(row_a, row_b)]
    alive = [(x, y) for x, y in pairs if y != 0]
    assert len(alive) == 6
    for statistic, counted in (("all", pairs), ("survivors", alive)):
        same = sum(x * y > 0 for x, y in counted)
        moved = sum((x - y) ** 2 for x, y in counted) ** 0.5
        assert agreement[FC1, statistic] == same / len(counted)
        assert distance[FC1, statistic] == pytest.approx(moved, rel=1e-6)
        norm = sum(x * x for x, _ in counted) ** 0.5
        assert relative[FC1, statistic] == pytest.approx(moved / norm, rel=1e-6)
    squares = sum(value**2 for (name, kind), value in distance.items() if name and kind == "all")
    assert distance[None, "all"] == pytest.approx(squares**0.5)
    assert agreement[None, "all"] < agreement[None, "survivors"], "pruned weights lost their signs"


def test_a_model_agrees_with_itself(models):
    for name in ("dense", "end"):
        one = models[name]
        assert set(values("sign-agreement", one, one).values()) == {1.0}
        assert set(values("weight-distance", one, one).values()) == {0.0}
        jaccard = values("mask-overlap", one, one) if name == "end" else {(None, "jaccard"): 1}
        assert {v for (_, kind), v in jaccard.items() if kind in ("jaccard", "shared")} == {1.0}


def test_overlaps_are_those_of_the_report_and_of_scipy(models):
    a, b = models["end"], models["other"]
    found, deviations = values("mask-overlap", a, b), values("mask-overlap-z", a, b)
    reported = overlap(a.mask, b.mask)
    mean = variance = 0.0
    for name, (jaccard, _) in reported.items():
        assert found[name or None, "jaccard"] == pytest.approx(jaccard)
    for name in a.mask:
        size = a.mask.size(name)
        protected = a.mask[name].numel() - size
        kept_a, kept_b = (int(m.mask[name].sum()) - protected for m in (a, b))
        law = hypergeom(size, kept_a, kept_b)
        shared = int((a.mask[name] & b.mask[name]).sum()) - protected
        assert found[name, "shared"] == pytest.approx(shared / kept_a)
        assert found[name, "shared-expected"] == pytest.approx(law.mean() / kept_a)
        assert found[name, "shared-deviation"] == pytest.approx(law.std() / kept_a)
        assert deviations[name, None] == pytest.approx((shared - law.mean()) / law.std())
        mean, variance = mean + law.mean(), variance + law.var()
    kept = PRUNABLE - a.mask.pruned
    assert found[None, "shared-expected"] == pytest.approx(mean / kept)
    assert found[None, "shared-deviation"] == pytest.approx(variance**0.5 / kept)
    assert abs(deviations[None, None]) < 4, "of weights that know nothing of each other"


def test_masks_of_related_weights_are_above_chance(models, tmp_path):
    related = pruned(tmp_path / "related.pt", weights(1), 0.75)
    assert values("mask-overlap-z", models["end"], related)[None, None] > 10


def test_norms_are_those_of_numpy(models):
    found = values("survivor-norm", models["end"])
    everything = []
    for name in models["end"].mask:
        row = models["end"].mask.protected.get(name)
        array = models["end"].weights[name].numpy().astype(np.float64)
        array = array if row is None else np.delete(array, row, 0)
        alive = array[array != 0]
        everything.append(alive)
        assert found[name, "mean"] == pytest.approx(np.abs(alive).mean())
        assert found[name, "rms"] == pytest.approx(np.sqrt((alive**2).mean()))
        assert found[name, "l2"] == pytest.approx(np.linalg.norm(alive))
    total = np.concatenate(everything)
    assert found[None, "mean"] == pytest.approx(np.abs(total).mean())
    assert found[None, "l2"] == pytest.approx(np.linalg.norm(total))


def test_dead_rows_and_columns_are_counted_without_the_padding(models, tmp_path):
    parameters = {n: w.clone() for n, w in weights(1).items()}
    mask = {n: keep.clone() for n, keep in full_mask().items()}
    mask[FC1][1:3] = False
    mask[FC1][:, 0] = False
    masked = Mask(mask, full_mask().protected)
    parameters[FC1] *= mask[FC1]
    model = ModelFile.open(save_checkpoint(tmp_path / "dead.pt", parameters, mask=masked))
    rows, columns = values("dead-rows", model), values("dead-columns", model)
    assert (rows[FC1, "dead"], columns[FC1, "dead"]) == (2 / 6, 1 / 4)
    assert rows[FC1, "expected"] == pytest.approx(hypergeom.pmf(0, 24, 4, 12))
    assert columns[FC1, "expected"] == pytest.approx(hypergeom.pmf(0, 24, 6, 12))
    lines = sum(len(keep) for keep in mask.values()) - 1
    assert rows[None, "dead"] == pytest.approx(2 / lines)
    # the same model without a record of its mask, as another program prunes it
    foreign = ModelFile.open(save_checkpoint(tmp_path / "foreign.pt", parameters))
    assert values("dead-rows", foreign) == rows
    assert values("survivor-norm", foreign) == values("survivor-norm", model)


def test_what_does_not_fit_is_one_sentence(models, tmp_path):
    with pytest.raises(LotteryError, match="dense.pt is dense and has no mask; give a pruned"):
        values("mask-overlap", models["end"], models["dense"])
    small = ModelFile.open(save_checkpoint(tmp_path / "small.pt", weights(1, layers=1)))
    with pytest.raises(LotteryError, match="does not exist in .*small.pt; give two models of one"):
        values("sign-agreement", models["dense"], small)
    other = {**weights(1), FC1: torch.ones(5, 4)}
    other = ModelFile.open(save_checkpoint(tmp_path / "other.pt", other))
    with pytest.raises(LotteryError, match=r"shape \(6, 4\) in .*dense.pt, but \(5, 4\) in"):
        values("weight-distance", models["dense"], other)
