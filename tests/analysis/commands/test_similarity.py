"""``similarity`` and ``complexity``: what they print, save and refuse."""

import json

import numpy as np
import pytest
import torch
from analysis.written_recordings import write_random
from small import MATRICES, save_checkpoint, weights

from fairseq_lottery.analysis.results import Results
from fairseq_lottery.analysis.similarity.summary import summary
from fairseq_lottery.cli.main import main


@pytest.fixture
def folders(tmp_path):
    names = ("dense", "slt", "random")
    for seed, name in enumerate(names):
        write_random(tmp_path / name, seed=seed)
    return [str(tmp_path / name) for name in names]


def cells(text, label):
    """Cells of the lines that start with a label, in the order of the tables."""
    lines = [line for line in text.splitlines() if line.startswith(label)]
    return [line.removeprefix(label).split() for line in lines]


def test_the_table_has_the_same_layers_and_the_files_all_pairs(folders, tmp_path, capsys):
    out = tmp_path / "results"
    assert main(["similarity", *folders[:2], "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert main(["similarity", *folders[:2], "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    expected = [
        [f"{row['value']:.3f}" for row in rows
         if (row["measure"], row["part"]) == ("linear-cka", part)
         and row["layer"] == row["other_layer"]]
        for part in ("encoder", "decoder")
    ]  # fmt: skip
    assert cells(printed, "linear-cka") == expected
    assert "best-head" not in printed
    lines = (out / "similarity.csv").read_text().splitlines()
    assert len(lines) == 1 + len(rows) == 1 + 8 * 8 + 8 + 6 * 12 + 36


def test_tables_are_in_one_order_for_two_models_and_for_three(folders, capsys):
    order = []
    for models in (folders[:2], folders):
        assert main(["similarity", *models]) == 0
        lines = capsys.readouterr().out.splitlines()
        order.append([line.split(",")[0] for line in lines if ", layer " in line])
    assert order[0] == order[1] == ["encoder", "decoder", "enc_self", "dec_self", "enc_dec"]
    labels = [line.split("  ")[0] for line in lines if line.startswith("localization")]
    statistics = ("minus-svcca", "minus-cka")
    both = [f"localization {name} [{n}]" for name in statistics for n in (1, 2)]
    assert labels == [label for label in both if label in labels] * 2 and labels


def test_several_models_stand_below_each_other(folders, capsys):
    assert main(["similarity", *folders, "--measures", "neuron-sim,svcca"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[:2] == [f"[1] {folders[1]}", f"[2] {folders[2]}"]
    for label in (
        "svcca [1]",
        "svcca [2]",
        "neuron-sim [1]",
        "neuron-sim max-corr all",
        "neuron-sim min-corr all",
    ):
        assert [len(line) for line in cells(printed, label)] == [2, 2], label


def test_rows_of_matrices_stand_in_one_table():
    rows = [
        {"measure": "overlap", "part": "enc_self", "layer": 1, "matrix": "a", "value": 0.25},
        {"measure": "chance", "part": "enc_self", "layer": 1, "matrix": "a", "value": 0.125},
        {"measure": "overlap", "part": "embedding", "matrix": "b", "value": 0.5},
        {"measure": "overlap", "value": 0.75},
    ]
    results = Results("similarity", {"first": {"file": "a"}, "others": {"b": {}}}, rows)
    assert [line.split() for line in summary(results)] == [
        *(["matrix", "a", "b"], ["overlap", "0.250", "0.500"], ["chance", "0.125", "-"]),
        *([], ["value"], ["overlap", "0.750"]),
    ]


def test_one_recording_compares_its_first_layer(folders, capsys):
    assert main(["similarity", folders[0], "--measures", "linear-cka"]) == 0
    first = cells(capsys.readouterr().out, "linear-cka")
    assert [line[0] for line in first] == ["1.000", "1.000"] and len(first[0]) == 2


def test_measures_that_do_not_apply_are_named(tmp_path, capsys):
    folder = str(write_random(tmp_path / "short", lengths=(5, 5)).folder)
    assert main(["similarity", folder]) == 0
    printed = capsys.readouterr()
    assert [line.split(":")[1].strip() for line in printed.err.splitlines()] == [
        *("localization", "pwcca", "svcca"),
    ]
    assert main(["similarity", folder, "--measures", "svcca"]) == 2


def test_bad_inputs_write_nothing(folders, tmp_path, capsys):
    out = tmp_path / "out"
    model = save_checkpoint(tmp_path / "model.pt", weights())
    for arguments in (
        [*folders[:2], "--measures", "nothing"],
        [folders[0], str(tmp_path / "missing")],
        [folders[0], model],
        [folders[0], folders[1], folders[1]],
        [str(tmp_path)],
        [model],
    ):
        assert main(["similarity", *arguments, "--out", str(out)]) == 2, arguments
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not out.exists()
    out.mkdir()
    assert main(["similarity", folders[0], "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["similarity", folders[0], "--out", str(out), "--overwrite"]) == 0


def test_a_list_of_measures(folders, capsys):
    assert main(["similarity", folders[0], "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 15
    assert main(["complexity", folders[0], "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("effective-rank", "rank-99", "variance"),
    ]


def test_complexity_of_a_recording(tmp_path, capsys):
    # three equal directions in six neurons, and a mean that is a fourth one
    chance = np.random.default_rng(0)
    directions = np.linalg.qr(chance.normal(size=(6, 6)))[0]
    centred = chance.normal(size=(32, 3))
    variates = np.linalg.qr(centred - centred.mean(axis=0))[0]
    x = variates @ directions[:3] * 2 + directions[3] * 5
    folder = write_random(tmp_path / "recording", activations_encoder_1=x).folder
    assert main(["complexity", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    found = {
        (row["measure"], row["statistic"], row.get("component")): row["value"]
        for row in rows
        if (row["part"], row["layer"]) == ("encoder", 1)
    }
    assert found["effective-rank", "centred", None] == pytest.approx(3, abs=1e-4)
    assert found["rank-99", "centred", None] == 3
    assert found["variance", "centred", 1] == pytest.approx(1 / 3, abs=1e-5)
    assert found["variance", "centred", 3] == pytest.approx(1)
    # squared norms: 3 directions of 4, and 32 x 25 of the mean
    assert found["variance", "not-centred", 1] == pytest.approx(800 / 812, abs=1e-5)
    assert found["rank-99", "not-centred", None] == 2
    assert main(["complexity", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert cells(printed, "rank-99 centred")[0][0] == "3"
    assert "variance centred 2 " not in printed


def test_complexity_of_matrices(tmp_path, capsys):
    parameters = weights()
    name = "encoder.layers.1.fc1.weight"
    parameters[name] = torch.outer(torch.ones(6), torch.arange(4.0))
    dead = "decoder.layers.0.self_attn.v_proj.weight"
    parameters[dead] = torch.zeros(4, 4)
    path = save_checkpoint(tmp_path / "model.pt", parameters)
    assert main(["complexity", path, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    rows = [row for row in rows if row["measure"].startswith("matrix-")]
    assert len({row["matrix"] for row in rows}) == MATRICES
    one = [row for row in rows if row["matrix"] == name]
    assert {(row["part"], row["layer"]) for row in one} == {("enc_ffn", 2)}
    assert [row["value"] for row in one] == pytest.approx([1, 1, 1])
    assert [row["value"] for row in rows if row["matrix"] == dead] == [0, 0]
    assert main(["complexity", path]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    tables = {own.splitlines()[0]: own for own in text.split("\n\n")}
    assert cells(tables["matrix-rank-99"], "layer")[0] == "enc 1 enc 2 dec 1 dec 2".split()
    assert cells(tables["matrix-rank-99"], "self v")[0][2] == "0.000"
    parameters[name][0, 0] = float("nan")
    broken = save_checkpoint(tmp_path / "broken.pt", parameters)
    assert main(["complexity", broken]) == 2
    assert name in capsys.readouterr().err
