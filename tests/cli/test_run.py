import pytest

from fairseq_lottery.cli.main import main


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--json"], "--json shows a plan and runs nothing; give -n with it"),
        (["-n", "--emit", "bash"], "-n shows the plan and --emit prints a script; give one of"),
        (["--jobs", "0"], "--jobs 0 runs nothing; give 1 or more"),
    ],
)
def test_flags_that_contradict_each_other_start_nothing(tmp_path, capsys, flags, message):
    assert main(["run", str(tmp_path / "none.yaml"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
