"""A training that a signal stops saves after the update it is at, and goes on to the bit."""

import atexit
import functools
import os
import re
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
import torch
from toy import (
    PRECISIONS,
    Toy,
    assert_pruned,
    assert_same_training,
    drawing,
    free_port,
    pretend_cuda,
    start,
    wait,
)

from fairseq_lottery.errors import STOPPED
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.launch import Place, flags
from fairseq_lottery.training.processes import stop_signals
from fairseq_lottery.training.processes.stop_signals import Stopping, stop_on_signals

PRUNING = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 14, "--prune-every", 4)


def send(number=signal.SIGUSR1, times=1):
    for _ in range(times):
        os.kill(os.getpid(), number)


def before(owner, name, action, when=lambda *args: True):
    """Run ``action`` before the first call of a method for which ``when`` holds."""
    call = getattr(owner, name)
    done = []

    def calling(self, *args, **kwargs):
        if not done and when(self, *args):
            done.append(True)
            action()
        return call(self, *args, **kwargs)

    setattr(owner, name, calling)


def during(update, action=send):
    """A prelude: ``action`` while update number ``update`` is made."""

    def prelude():
        from fairseq.trainer import Trainer

        pretend_cuda()
        before(Trainer, "train_step", action, lambda self, *_: self.get_num_updates() == update - 1)

    return prelude


def assert_saved(done, update, name="SIGUSR1"):
    assert done.code == STOPPED, done.out[-3000:]
    lines = re.findall(r"saved at update \d+ after \w+;", done.out)
    assert lines == [f"saved at update {update} after {name};"]
    assert "done training" not in done.out
    assert "Traceback" not in done.out


def assert_same_end(toy, uninterrupted):
    """``parts`` equals it, also in what was the best so far and where the data stands."""
    runs = (uninterrupted, toy.path("parts"))
    whole, parts = (read_checkpoint(run / "checkpoint_last.pt") for run in runs)
    assert whole["optimizer_history"][-1]["num_updates"] == 20
    assert_same_training(whole, parts)
    for name in ("best", "val_loss", "train_iterator"):
        assert whole["extra_state"][name] == parts["extra_state"][name], name
    assert_same_training(*(read_checkpoint(run / "checkpoint_best.pt") for run in runs))


def skip_without_half_precision():
    try:
        torch.nn.functional.dropout(torch.ones(1, dtype=torch.float16), 0.5)
    except RuntimeError:
        pytest.skip("this torch has no half-precision dropout on a CPU")


@pytest.fixture(scope="module")
def uninterrupted(toy_data, tmp_path_factory):
    """Train once with each set of flags, to the end; returns the folder of the run."""
    toy = Toy(toy_data, tmp_path_factory.mktemp("uninterrupted"))

    @functools.cache
    def trained(*given):
        save_dir = str(len(list(toy.folder.iterdir())))
        toy.train(save_dir, *given, prelude=pretend_cuda).ok()
        return toy.path(save_dir)

    return trained


#: each precision and each kind; test_training.py kills and resumes the other pairs
STOPPED_AND_RESUMED = [
    ("ticket", "fp32"), ("pruning", "fp32"), ("ticket", "fp16-flat"), ("ticket", "amp"),
    ("pruning", "fp16-no-flatten"), ("pruning", "fp16-memory-efficient"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind, precision", STOPPED_AND_RESUMED)
def test_stopped_and_resumed_equals_uninterrupted(toy, dense, uninterrupted, kind, precision):
    if precision != "fp32":
        skip_without_half_precision()
    given = [*PRECISIONS[precision], "--snapshot-updates", 14]
    given += PRUNING if kind == "pruning" else drawing(dense, 0.7)
    name = {"ticket": "SIGTERM", "pruning": "SIGUSR1"}[kind]
    stopped = toy.train("parts", *given, prelude=during(8, lambda: send(signal.Signals[name])))
    assert_saved(stopped, 8, name)
    assert sorted(p.name for p in toy.path("parts").glob("checkpoint*")) == ["checkpoint_last.pt"]
    assert "begin validation" not in stopped.out
    resumed = toy.train("parts", *given, prelude=pretend_cuda).ok()
    assert "@ 8 updates" in resumed.out
    runs = (uninterrupted(*given), toy.path("parts"))
    assert_same_end(toy, runs[0])
    last = toy.load("parts", "checkpoint_last.pt")
    assert_pruned(last, toy.mask("parts", "checkpoint_last.pt"))
    for file in runs[0].glob("*.safetensors"):
        assert file.read_bytes() == (runs[1] / file.name).read_bytes(), file.name


def in_validation():
    """Prelude: the signal comes while update 4 is validated."""
    from fairseq.trainer import Trainer

    before(Trainer, "valid_step", send, lambda self, *_: self.get_num_updates() == 4)


def in_save():
    """Prelude: the signal comes while update 4 is saved."""
    from fairseq.trainer import Trainer

    before(Trainer, "save_checkpoint", send, lambda self, *_: self.get_num_updates() == 4)


def before_first():
    """Prelude: the signal comes when the data is there but no update was made."""
    from fairseq.trainer import Trainer

    before(Trainer, "begin_epoch", send)


OFTEN = ("--validate-interval-updates", 4, "--save-interval-updates", 4)
MOMENTS = {
    "in a validation": (in_validation, 5, OFTEN, 1),
    "in a save": (in_save, 5, OFTEN, 1),
    "before the first update": (before_first, 1, (), 0),
    "in an update after which a validation and a save are due": (during(4), 4, OFTEN, 1),
    "in an update after which only a validation is due": (during(4), 4, OFTEN[:2], 1),
    "in the last update of an epoch": (during(10), 10, (), 1),
    "in the second epoch": (during(13), 13, (), 1),
    "twice at once": (during(8, lambda: send(times=2)), 8, (), 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_whenever_the_signal_comes(toy, uninterrupted, moment):
    prelude, update, given, validations = MOMENTS[moment]
    stopped = toy.train("parts", *PRUNING, *given, prelude=prelude)
    assert_saved(stopped, update)
    assert stopped.out.count("begin validation") == validations
    toy.train("parts", *PRUNING, *given).ok()
    assert_same_end(toy, uninterrupted(*PRUNING, *given))


@pytest.mark.slow
@pytest.mark.parametrize("given", [(), ("--max-epoch", 2, "--max-update", 0)])
def test_a_signal_in_the_last_update_lets_the_training_finish(toy, given):
    done = toy.train("run", *given, prelude=during(20)).ok()
    assert "done training" in done.out and "saved at update" not in done.out
    assert toy.path("run", "checkpoint_best.pt").exists()


@pytest.mark.slow
def test_a_training_that_may_not_save_says_so(toy):
    stopped = toy.train("run", "--no-save", prelude=during(8))
    assert stopped.code == STOPPED
    assert "stopped at update 8 by SIGUSR1 without saving" in stopped.out
    assert not list(toy.path("run").glob("checkpoint*"))


@pytest.mark.slow
def test_the_same_signal_again_ends_at_once(toy):
    def twice():
        stop_signals._ONE_REQUEST = 0.0
        during(8, lambda: send(signal.SIGTERM, times=2))()

    stopped = toy.train("run", prelude=twice)
    assert stopped.code == -signal.SIGTERM
    assert not list(toy.path("run").glob("checkpoint*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", stop_signals.SIGNALS)
def test_processes_that_load_data_do_not_die_of_it(toy, uninterrupted, number):
    """A scheduler signals all processes of a job, also one that has nothing to load."""

    def everywhere():
        children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        pids = [int(pid) for path in children for pid in path.read_text().split()]
        assert len(pids) >= 3
        # from outside: what their own parent sends them they obey
        subprocess.run(["kill", f"-{number.value}", *map(str, [*pids, os.getpid()])], check=True)

    # three for two batches of validation; without a buffer their end is noticed at once
    workers = ("--num-workers", 3, "--data-buffer-size", 0)
    stopped = toy.train("parts", *PRUNING, *workers, prelude=during(8, everywhere))
    assert_saved(stopped, 8, number.name)
    toy.train("parts", *PRUNING, *workers).ok()
    assert_same_end(toy, uninterrupted(*PRUNING))


def train_two(toy, save_dir, *extra, preludes=(None, None)):
    """Both ranks of one training, each with a prelude of its own."""
    port = free_port()
    master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = []
    for rank, prelude in enumerate(preludes):
        given = toy.arguments(save_dir, *extra)
        given += flags(Place(rank, 2, rank, "127.0.0.1", port), [], gpus=0)
        ranks.append(start("fairseq_cli.train", given, toy.folder, master, prelude))
    return [wait(rank) for rank in ranks]


@pytest.fixture(scope="module")
def whole_of_two(toy_data, tmp_path_factory):
    """The folder of an uninterrupted training of two processes."""
    toy = Toy(toy_data, tmp_path_factory.mktemp("two"))
    for done in train_two(toy, "whole", *PRUNING):
        done.ok()
    return toy.path("whole")


REACHED = {
    "only the first": (during(6), None),
    "only the second": (None, during(6)),
    "the second earlier": (during(7), during(6)),
    "each another signal": (during(6, lambda: send(signal.SIGTERM)), during(6)),
}


@pytest.mark.slow
@pytest.mark.parametrize("reached", REACHED)
def test_two_processes_stop_at_one_update(toy, request, reached):
    first, second = train_two(toy, "parts", *PRUNING, preludes=REACHED[reached])
    assert_saved(first, 6, "SIGTERM" if reached == "each another signal" else "SIGUSR1")
    assert second.code == STOPPED
    saved = read_checkpoint(toy.path("parts") / "checkpoint_last.pt")
    assert saved["optimizer_history"][-1]["num_updates"] == 6
    if reached == "only the second":  # the others have saved the same
        for done in train_two(toy, "parts", *PRUNING):
            done.ok()
        assert_same_end(toy, request.getfixturevalue("whole_of_two"))


@pytest.mark.slow
def test_a_signal_while_it_ends_does_not_change_why(toy):
    """torchrun and srun end all other processes when one has ended."""

    def prelude():
        during(8)()
        atexit.register(send, signal.SIGTERM)
        end = os._exit  # the toy's processes end without Python's own end
        os._exit = lambda code: (atexit._run_exitfuncs(), end(code))

    assert_saved(toy.train("run", prelude=prelude), 8)


@pytest.fixture
def loop(monkeypatch):
    """A module with a training loop's ``validate_and_save``, as the one that is running."""
    module = types.ModuleType("loop")
    module.validate_and_save = lambda *args: ([None], True)
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def ended(loop):
    """Call ``validate_and_save`` as the loop does, at an update after which fairseq ends."""
    cfg = types.SimpleNamespace(optimization=types.SimpleNamespace(max_update=9, max_epoch=0))
    trainer = types.SimpleNamespace(get_num_updates=lambda: 3)
    epochs = types.SimpleNamespace(epoch=1)
    return loop.validate_and_save(cfg, trainer, None, epochs, [], False)


def test_everything_is_put_back_when_the_training_ends(loop):
    own = loop.validate_and_save
    handlers = [lambda *_: None, signal.SIG_IGN]
    before = [signal.signal(n, h) for n, h in zip(stop_signals.SIGNALS, handlers)]
    try:
        stop_on_signals()
        stop_on_signals()  # every epoch asks for it
        assert isinstance(loop.validate_and_save, Stopping)
        assert all(callable(signal.getsignal(n)) for n in stop_signals.SIGNALS)
        assert ended(loop) == ([None], True)
        assert loop.validate_and_save is own
        assert [signal.getsignal(number) for number in stop_signals.SIGNALS] == handlers
    finally:
        for number, handler in zip(stop_signals.SIGNALS, before):
            signal.signal(number, handler)


def test_a_thread_takes_no_signals(loop):
    own, handlers = loop.validate_and_save, [signal.getsignal(n) for n in stop_signals.SIGNALS]
    thread = threading.Thread(target=stop_on_signals)
    thread.start()
    thread.join()
    assert loop.validate_and_save is own
    assert [signal.getsignal(number) for number in stop_signals.SIGNALS] == handlers
