"""Checkpoints that would run code where fairseq's own commands load them, refused before."""

import os

import pytest
import torch

pytest.importorskip("fairseq")

from toy import LOTTERY, call, hypotheses, loading

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.safe_load import safe_load
from fairseq_lottery.training.start.flag_checks import refuse_setup


class Poison:
    """Makes a folder where it is loaded without care."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def poisoned(path, canary, **state):
    torch.save({**state, "extra_state": Poison(canary)}, path)
    return path


# --- which files are looked at ------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "good.pt")
    poisoned(tmp_path / "evil.pt", tmp_path / "canary")
    yield tmp_path
    assert not (tmp_path / "canary").exists()


def test_a_training_and_good_models_are_not_refused(files):
    refuse_setup(loading())
    refuse_setup(loading(str(files / "good.pt")))
    refuse_setup(loading(f"{files}/good.pt:{files}/good.pt", lm=str(files / "good.pt")))
    refuse_setup(loading(seed=str(files / "good.pt")))


@pytest.mark.parametrize(
    "given",
    [
        {"path": "{}/evil.pt"},
        {"path": "{}/good.pt:{}/evil.pt"},
        {"path": "{}/evil.pt:{}/good.pt"},
        {"path": "{}/good.pt", "lm": "{}/evil.pt"},
        {"path": "{}/ev.pt", "suffix": "il"},
        {"seed": "{}/evil.pt"},
    ],
    ids=["alone", "last of two", "first of two", "a language model", "with a suffix", "an EMA"],
)
def test_what_would_run_is_refused_wherever_it_is_named(files, given):
    filled = {key: value.replace("{}", str(files)) for key, value in given.items()}
    with pytest.raises(LotteryError) as refused:
        refuse_setup(loading(**filled))
    assert str(refused.value) == (
        f"{files}/evil.pt is not a fairseq checkpoint that can be loaded safely (posix.mkdir is"
        " not allowed in a checkpoint); give another"
    )


def test_every_shard_is_looked_at(files):
    (files / "good.pt").rename(files / "m_part0.pt")
    (files / "evil.pt").rename(files / "m_part1.pt")
    with pytest.raises(LotteryError, match=r"m_part1.pt is not a fairseq checkpoint"):
        refuse_setup(loading(f"{files}/m.pt", shards=2))


def test_what_is_no_checkpoint_is_one_sentence(files):
    (files / "text.pt").write_text("not a checkpoint\n")
    (files / "cut.pt").write_bytes((files / "good.pt").read_bytes()[:-30])
    (files / "empty.pt").write_bytes(b"")
    os.mkfifo(files / "pipe.pt")
    for name, why in (
        ("text.pt", "can be loaded safely (it is truncated, corrupted or of another kind)"),
        ("cut.pt", "can be loaded safely (it is truncated, corrupted or of another kind)"),
        ("empty.pt", "can be loaded safely (it is truncated, corrupted or of another kind)"),
        ("gone.pt", f"there is no file {files}/gone.pt; give a checkpoint"),
        ("pipe.pt", f"there is no file {files}/pipe.pt; give a checkpoint"),
        ("", f"there is no file {files}/; give a checkpoint"),
    ):
        with pytest.raises(LotteryError) as refused:
            refuse_setup(loading(f"{files}/{name}"))
        assert why in str(refused.value)


# --- fairseq's own commands ---------------------------------------------------------------------


def translate(toy, command, *paths):
    (toy.folder / "in.txt").write_text("w1 w2 w3\n")
    other = {"generate": ["--max-tokens", 1000], "interactive": ["--input", toy.path("in.txt")]}
    return call(
        f"fairseq_cli.{command}",
        [toy.data, "-s", "en", "-t", "de", *LOTTERY[:4], "--beam", 2, *other[command],
         "--path", ":".join(map(str, paths))],
        toy.folder,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("command", ["generate", "interactive"])
def test_translating_runs_nothing(toy, dense, command):
    good, canary = dense / "checkpoint_last.pt", toy.path("canary")
    state = safe_load(good)
    evil = poisoned(toy.path("evil.pt"), canary, **state)
    for paths in ((evil,), (good, evil)):
        done = translate(toy, command, *paths)
        assert done.code == 2 and not canary.exists()
        said = [line for line in done.out.splitlines() if line.startswith("fairseq-lottery: ")]
        assert said == [
            f"fairseq-lottery: {evil} is not a fairseq checkpoint that can be loaded safely"
            " (posix.mkdir is not allowed in a checkpoint); give another"
        ]
        assert "Traceback" not in done.out and not hypotheses(done)
    both = translate(toy, command, good, good).ok()
    assert len(hypotheses(both)) == {"generate": 50, "interactive": 1}[command]
    assert hypotheses(both).keys() == hypotheses(translate(toy, command, good).ok()).keys()
