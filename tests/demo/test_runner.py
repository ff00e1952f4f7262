import io
import sys

import pytest

pytest.importorskip("rich")
from rich.console import Console  # noqa: E402

from fairseq_lottery.demo.board import Board  # noqa: E402
from fairseq_lottery.demo.runner import run_stages, tail, updates_so_far  # noqa: E402
from fairseq_lottery.demo.stages import Stage  # noqa: E402
from fairseq_lottery.demo.stamps import read_stamp  # noqa: E402
from fairseq_lottery.errors import LotteryError  # noqa: E402

WORK = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
with open("order.txt", "a") as order:
    order.write(folder.name + " ")
print("work is done")
"""


def stage(name, needs=(), code=WORK, words="work is done"):
    return Stage(
        name=name,
        title=name,
        folder=name,
        command=(sys.executable, "-c", code, name),
        proof=(f"logs/{name}.log", words),
        needs=needs,
    )


def run(out, *stages, jobs=1):
    """Run the stages; returns what was shown of them."""
    shown = io.StringIO()
    with Board(Console(file=shown, width=200), len(stages)) as board:
        run_stages(out, stages, jobs, board)
    return shown.getvalue().splitlines()


CHAIN = (stage("a"), stage("b", needs=("a",)), stage("c", needs=("b",)))


def order(out):
    return (out / "order.txt").read_text().split()


def test_each_stage_runs_once_after_what_it_needs(tmp_path):
    lines = run(tmp_path, stage("c", needs=("b",)), stage("b", needs=("a",)), stage("a"), jobs=2)
    assert order(tmp_path) == ["a", "b", "c"]
    assert [line.split(":")[0] for line in lines] == ["[1/3] a", "[2/3] b", "[3/3] c"]
    assert read_stamp(tmp_path, CHAIN[1])["command"] == list(CHAIN[1].command)


def test_a_second_start_runs_nothing_again(tmp_path):
    run(tmp_path, *CHAIN)
    lines = run(tmp_path, *CHAIN)
    assert order(tmp_path) == ["a", "b", "c"]
    assert lines == [f"[{n}/3] {name}: finished before" for n, name in enumerate("abc", 1)]


def test_what_comes_after_an_unfinished_stage_runs_again(tmp_path):
    run(tmp_path, *CHAIN)
    (tmp_path / "stamps" / "b.json").unlink()
    run(tmp_path, *CHAIN)
    assert order(tmp_path) == ["a", "b", "c", "b", "c"]


def test_another_configuration_is_refused_before_anything_runs(tmp_path):
    run(tmp_path, *CHAIN)
    (tmp_path / "stamps" / "a.json").unlink()
    with pytest.raises(LotteryError, match="another configuration .*stage b .*another --out"):
        run(tmp_path, CHAIN[0], stage("b", code=WORK + "1", needs=("a",)))
    assert order(tmp_path) == ["a", "b", "c"]


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    with pytest.raises(LotteryError, match="no folder of this demo; choose another --out"):
        run(tmp_path, *CHAIN)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "mine.txt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(LotteryError, match="cannot be made .*; choose another --out"):
        run(tmp_path / "file" / "demo", *CHAIN)


def test_a_failed_stage_is_named_with_its_log(tmp_path):
    with pytest.raises(LotteryError) as error:
        run(tmp_path, stage("a", code="print('one'); print('two'); raise SystemExit(3)"))
    log = tmp_path / "logs" / "a.log"
    assert str(error.value) == (
        f"the stage a failed with exit code 3; its log {log} ends with: one / two"
    )
    assert not (tmp_path / "stamps" / "a.json").exists()


def test_a_stage_without_its_proof_failed_whatever_its_exit_code(tmp_path):
    with pytest.raises(LotteryError, match="failed with exit code 0"):
        run(tmp_path, stage("a", code="print('gave up')"))


def test_an_abort_after_the_work_is_no_failure(tmp_path):
    run(tmp_path, stage("a", code="import os; print('work is done', flush=True); os.abort()"))
    assert (tmp_path / "stamps" / "a.json").exists()


def test_a_failure_ends_what_else_runs_and_the_rest_is_done_next_time(tmp_path):
    sleeper = stage("b", code="import time; time.sleep(60)")
    with pytest.raises(LotteryError, match="stage a failed"):
        run(tmp_path, stage("a", code="raise SystemExit(1)"), sleeper, jobs=2)
    run(tmp_path, stage("a"), stage("b"))
    assert order(tmp_path) == ["a", "b"]


def test_an_interrupted_stage_starts_in_an_empty_folder(tmp_path):
    (tmp_path / "stamps").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "half.pt").write_text("half")
    run(tmp_path, stage("a"))
    assert list((tmp_path / "a").iterdir()) == []


def test_the_log_tells_how_far_a_training_is(tmp_path):
    log = tmp_path / "train.log"
    assert (updates_so_far(log), tail(log)) == (0, "")
    log.write_text("loss=3.1, num_updates=25, lr=1\nloss=2.9, num_updates=50, lr=1\n")
    assert updates_so_far(log) == 50
