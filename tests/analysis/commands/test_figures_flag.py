"""``--figures`` and ``--out`` of all commands: what is written, and what is refused first."""

import csv

import pytest
from analysis.written_recordings import write_random
from small import save_checkpoint, weights

from fairseq_lottery.cli.main import main

pytest.importorskip("matplotlib")

#: commands -> arguments without files
COMMANDS = {
    "similarity": [], "complexity": [], "roles": [], "connect": ["other"],
    "probe": ["--labels", "labels"], "early-bird": ["--sparsity", "0.5"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return str(write_random(tmp_path / "dense").folder)


def names(out, ending="png"):
    return sorted(path.stem for path in (out / "figures").glob(f"*.{ending}"))


def test_files_of_two_recordings(folder, tmp_path, capsys):
    other, out = str(write_random(tmp_path / "slt", seed=1).folder), tmp_path / "out"
    measures = ["--measures", "linear-cka,best-head", "--figures", "--out", str(out)]
    assert main(["similarity", folder, other, *measures]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        *("analysis.json", "figures", "similarity.csv"),
    ]
    for ending in ("png", "svg", "pdf", "csv"):
        assert names(out, ending) == ["best-head-heads", "linear-cka-layers"]
    assert (out / "figures/linear-cka-layers.png").read_bytes()[:4] == b"\x89PNG"
    assert len((out / "figures/linear-cka-layers.csv").read_text().splitlines()) == 1 + 8


def test_several_models_are_told_apart(folder, tmp_path, capsys):
    others = [str(write_random(tmp_path / n, seed=s).folder) for s, n in ((1, "a"), (2, "b"))]
    out = tmp_path / "out"
    measures = ["--measures", "linear-cka", "--figures", "--out", str(out)]
    assert main(["similarity", folder, *others, *measures]) == 0
    with open(out / "figures/linear-cka-layers.csv", newline="") as file:
        table = [*csv.DictReader(file)]
    assert [row["technique"] for row in table] == (["a"] * 4 + ["b"] * 4) * 2
    assert {row["count"] for row in table} == {"1"}


def test_figures_of_single_models(folder, tmp_path, capsys):
    out = tmp_path / "complexity"
    measures = ["--measures", "effective-rank,variance", "--figures", "--out", str(out)]
    assert main(["complexity", folder, *measures]) == 0
    assert names(out) == sorted([
        *(f"effective-rank-{one}-by-layer" for one in ("centred", "not-centred")),
        *(f"variance-{one}-components-{part}" for one in ("centred", "not-centred")
          for part in ("encoder", "decoder")),
    ])  # fmt: skip
    model = save_checkpoint(tmp_path / "model.pt", weights())
    out = tmp_path / "matrices"
    measures = ["--measures", "matrix-rank-99", "--figures", "--out", str(out)]
    assert main(["complexity", model, *measures]) == 0
    assert names(out) == ["matrix-rank-99-matrices"]


def test_figures_of_roles(folder, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["roles", folder, "--sieves", "local", "--figures", "--out", str(out)]
    assert main(command) == 0
    assert "attention-patterns-roles-heads" in names(out)
    capsys.readouterr()
    assert main(command) == 2
    assert main([*command, "--overwrite"]) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_an_existing_folder_is_refused_before_anything_is_read(command, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [command, str(tmp_path / "missing"), *COMMANDS[command]]
    assert main([*arguments, "--out", str(out / "a")]) == 2
    assert str(out) in capsys.readouterr().err
    out.mkdir()
    assert main([*arguments, "--out", str(out)]) == 2
    assert str(out) in capsys.readouterr().err
    (out / "notes.txt").write_text("mine")
    assert main([*arguments, "--out", str(out), "--overwrite"]) == 2
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    assert str(out) in capsys.readouterr().err
    assert main([*arguments, "--figures"]) == 2
    assert "--out" in capsys.readouterr().err


def test_nothing_is_written_if_a_figure_fails(folder, tmp_path, capsys, monkeypatch):
    from fairseq_lottery.analysis.report.figures import heat_map_figures

    def fail(*_, **__):
        raise ValueError("no figure")

    monkeypatch.setattr(heat_map_figures, "heat_maps", fail)
    out = tmp_path / "results" / "out"
    out.parent.mkdir()
    command = ["similarity", folder, "--measures", "linear-cka", "--figures", "--out", str(out)]
    with pytest.raises(ValueError, match="no figure"):
        main(command)
    assert list(out.parent.iterdir()) == []
    assert "linear-cka" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(command) == 0
    before = {path.name: path.read_bytes() for path in (out / "figures").iterdir()}
    monkeypatch.setattr(heat_map_figures, "heat_maps", fail)
    with pytest.raises(ValueError, match="no figure"):
        main([*command, "--overwrite"])
    assert {path.name: path.read_bytes() for path in (out / "figures").iterdir()} == before
