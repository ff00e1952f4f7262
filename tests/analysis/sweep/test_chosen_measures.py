"""The measures of a sweep that have settings: probes and roles, on recordings written by hand."""

import json

import numpy as np
import pytest
from analysis.written_recordings import random_maps, write_activations, write_maps

from fairseq_lottery.analysis.sweep.chosen_measures import ROLES, choose_measures
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.cli.main import main
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


@pytest.mark.parametrize("sieves", [(), ("alignment",), ("local", "block")])
def test_roles_of_a_sweep_are_those_of_the_command(tmp_path, capsys, sieves):
    words = ["a b c d", "b a d c f", "h g f e d c b a", "c d e", "d e f a"]
    before = write_maps(tmp_path / "before", words, maps=random_maps(1), layers=2)
    after = write_maps(
        tmp_path / "after", words, maps=random_maps(2), layers=2, weights="b",
        pruned=[("enc_self", 1, 1), ("enc_dec", 2, 2)],
    )  # fmt: skip
    (tmp_path / "align").write_text("0-0 1-1\n0-0\n0-0 1-1\n0-0\n2-1\n")
    (tmp_path / "blocks").write_text("0 2\n0 3\n0 4\n0\n0 1\n")
    labels = {"alignment": tmp_path / "align", "source-boundaries": tmp_path / "blocks"}
    measures = choose_measures(Settings(labels={n: str(f) for n, f in labels.items()},
                                        sieves=sieves))  # fmt: skip
    flags = [f"--{name}={file}" for name, file in labels.items()]
    flags += [f"--sieves={','.join(sieves)}"] if sieves else []

    def command(*words):
        capsys.readouterr()
        assert main(["roles", *map(str, words), *flags, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["rows"]

    rows = [*command(after.folder, "--before", before.folder),
            *command(after.folder, before.folder)]  # fmt: skip
    for name in ROLES:
        models = (after, before)[: measures[name].models]
        own = json.loads(json.dumps(list(measures[name].rows(*models))))
        assert own == [row for row in rows if row["measure"] == name] != []
    roles = {row["role"] for row in measures["role-agreement"].rows(after, before)}
    assert ("argmax-alignment" in roles) == ("local" not in sieves) and "pattern-block" in roles


def test_without_pruned_heads_there_are_no_survivors(tmp_path):
    recording = write_maps(tmp_path / "r", ["a b c d", "b a d c f"], maps=random_maps(1))
    measures = choose_measures(Settings())
    assert list(measures["role-survivors"].rows(recording, recording)) == []
    changes = list(measures["role-changes"].rows(recording, recording))
    assert changes and {row["statistic"] for row in changes} == {"kept"}


def test_sieves_are_those_of_the_sweep(tmp_path):
    recording = write_maps(tmp_path / "r", ["a b c d", "b a d c f"], maps=random_maps(1))
    measures = choose_measures(Settings(sieves=("delimiter",)))
    roles = {row["role"] for row in measures["sieve-bias"].rows(recording)}
    assert roles == {"delimiter"}
    with pytest.raises(LotteryError, match="'nothing'"):
        choose_measures(Settings(sieves=("nothing",)))
    with pytest.raises(LotteryError, match="missing"):
        choose_measures(Settings(labels={"pos": str(tmp_path / "missing")}))


def test_sieves_of_other_models_are_refused_before_the_recordings():
    encoder = Settings(sieves=("local", "cls", "sep", "block"))
    assert "sieve-bias" in choose_measures(encoder, is_encoder=True)
    for sieves, is_encoder, problem in (
        (("cls",), False, "cls requires an encoder without a decoder"),
        (("diagonal",), True, "diagonal requires a model with a decoder"),
    ):
        with pytest.raises(LotteryError, match=problem):
            choose_measures(Settings(sieves=sieves), is_encoder=is_encoder)


@pytest.mark.parametrize(
    ("sieve", "labels"),
    [
        ("alignment", "alignment=FILE"),
        ("block", "source-boundaries=FILE"),
        ("syntactic", "source-conllu=FILE or target-conllu=FILE"),
    ],
)
def test_a_sieve_without_its_labels_is_refused_before_the_recordings(sieve, labels):
    with pytest.raises(LotteryError) as refused:
        choose_measures(Settings(sieves=("local", sieve)))
    assert str(refused.value) == f"the sieve {sieve} requires labels: {labels}"
