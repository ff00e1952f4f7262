import json

import pytest
from workflow.made import write

from fairseq_lottery.cli.main import main


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--json"], "--json requires -n"),
        (["-n", "--emit", "bash"], "-n and --emit exclude each other"),
        (["--jobs", "0"], "--jobs 0 is too small"),
    ],
)
def test_flags_that_contradict_each_other_start_nothing(tmp_path, capsys, flags, message):
    assert main(["run", str(tmp_path / "none.yaml"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def start(tmp_path, capsys):
    """Starts a small plan with flags, its environment a script; gives the sentence it ends with."""
    pytest.importorskip("snakemake")
    for name in ("data-bin", "other-bin"):
        (tmp_path / name).mkdir()
        for file in ("dict.en.txt", "train.en-de.en.bin", "valid.en-de.en.bin",
                     "test.en-de.en.bin"):  # fmt: skip
            (tmp_path / name / file).write_text(f"{file} of {name}")
    (tmp_path / "test.de").write_text("ein Satz\n")

    def started(*flags, says=None, **settings):
        python = tmp_path / "python"
        said = json.dumps({"gpus": 0, "notes": [], "parameters": 7, **(says or {})})
        python.write_text(f"#!/bin/sh\necho '{said}'\n")
        python.chmod(0o755)
        path = write(tmp_path, "slt", sparsities=[0.5], train_env="python", out="runs", **settings)
        code = main(["run", str(path), *flags])
        return code, capsys.readouterr().err

    return started


@pytest.mark.parametrize(
    ("flags", "changes", "message"),
    [
        ((), {"says": {"problem": "train: no such flag", "where": "train"}}, "no such flag"),
        ((), {"resources": {"gpus": 2}}, "requires 2 GPUs and this machine has 0"),
        ((), {"says": {"parameters": 10**15}}, "GB are free; give another --out"),
        (("--executor", "nosuch"), {}, "executor 'nosuch' is not installed"),
        (("--emit", "nosuch"), {}, "--emit nosuch is unknown"),
    ],
)
def test_a_refused_start_leaves_nothing(start, tmp_path, flags, changes, message):
    code, said = start(*flags, data="other-bin", **changes)
    assert code == 2 and message in said and said.count("\n") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".lock"]
    # the same folder with the right data
    assert start("--emit", "bash") == (0, "")
    noted = json.loads((tmp_path / "runs" / "data.json").read_text())
    assert sorted(noted) == ["dict.en.txt", "train.en-de.en.bin", "valid.en-de.en.bin"]
    assert json.loads((tmp_path / "runs" / "calibration.json").read_text()) == {"parameters": 7}
    code, said = start("--emit", "bash", data="other-bin")
    assert code == 2 and "dict.en.txt in " in said


def test_slurm_without_its_commands_is_refused_first(start, tmp_path, monkeypatch):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    missing = {"data": "none-bin"}  # which is said next
    code, said = start("--executor", "slurm", **missing)
    assert code == 2 and said.count("\n") == 1
    assert said.startswith("fairseq-lottery: --executor slurm requires the command sbatch, ")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".lock"]
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    for name in ("sbatch", "scancel"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    assert "none-bin does not exist" in start("--executor", "slurm", **missing)[1]
