"""What the script that runs fairseq's own tests counts, and that it drops no module silently."""

import pytest
from outside import fairseq_tests

PASSED = {("tests.test_a", "one"): "passed", ("tests.test_a", "two"): "skipped"}


@pytest.fixture
def tree(tmp_path):
    for name in ("test_utils.py", "speech/test_wav2vec2.py", "test_of_tomorrow.py"):
        path = tmp_path / "tests" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_what_is_not_run_is_named_with_its_reason(tree, capsys):
    assert fairseq_tests.listed(tree) == ["tests/test_utils.py"]
    lines = capsys.readouterr().out.splitlines()
    assert "not run: tests/speech/: downloads models and recordings" in lines
    assert "not run: tests/test_of_tomorrow.py: the list does not know it" in lines
    assert "not run: tests/test_train.py: this tree does not have it" in lines
    assert not any("wav2vec2" in line or "tests/test_utils.py" in line for line in lines)


def test_what_passed_before_and_not_after_is_broken():
    for after in ("failed", "skipped", None):
        found = {**PASSED, ("tests.test_a", "one"): after}
        assert fairseq_tests.broken(PASSED, found) == [("tests.test_a", "one")]
        assert fairseq_tests.broken(found, PASSED) == []
    assert fairseq_tests.broken(PASSED, PASSED) == []
    assert fairseq_tests.broken(PASSED, {}) == [("tests.test_a", "one")]


def test_the_table():
    found = {**PASSED, ("tests.test_a", "one"): "failed", ("tests.test_b", "x"): "passed"}
    rows = fairseq_tests.table(PASSED, found).splitlines()
    assert [row.split() for row in rows] == [
        ["module", "tests", "without", "with", "broken", "mended", "skipped"],
        ["tests.test_a", "2", "1", "0", "1", "0", "1"],
        ["tests.test_b", "1", "0", "1", "0", "1", "0"],
        ["all", "3", "1", "1", "1", "1", "1"],
    ]
