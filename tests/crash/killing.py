"""SIGKILL at a chosen place inside a training: between updates, or with a file half written.

Each function is a prelude of ``toy.start``: it runs in the training's own process before
fairseq does, and patches the place at which the process is to end. Files are left as the
kernel would leave them: what was written before the kill is there, the rest is not.
"""

import builtins
import io
import os
import shutil
import signal
import threading
from pathlib import Path

from toy import kill_at, pretend_cuda


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at_update(update):
    """Before the training goes on after ``update`` updates."""
    return lambda: kill_at(update)


def after_seconds(seconds):
    """Some time after the first update began, wherever the process is then."""

    def prelude():
        from fairseq.trainer import Trainer

        pretend_cuda()
        train_step = Trainer.train_step

        def step(self, *args, **kwargs):
            if not hasattr(self, "_dies"):
                self._dies = threading.Timer(seconds, die)
                self._dies.daemon = True
                self._dies.start()
            return train_step(self, *args, **kwargs)

        Trainer.train_step = step

    return prelude


class _Dying(io.BufferedWriter):
    """A file that lets ``left`` bytes reach the disk, and then ends the process."""

    def __init__(self, path, left):
        super().__init__(io.FileIO(path, "w"))
        self.left = left

    def write(self, data):
        data = memoryview(data).cast("B")
        if len(data) < self.left:
            self.left -= len(data)
            return super().write(data)
        super().write(data[: self.left])
        self.flush()
        die()


def in_checkpoint(number, size):
    """In the ``number``-th checkpoint that is written, after ``size`` bytes of it."""

    def prelude():
        pretend_cuda()
        plain, seen = builtins.open, []

        def dying_open(file, mode="r", *args, **kwargs):
            # fairseq's temporary name; its copies are opened too, and not written through here
            if str(file).endswith(".pt.tmp"):
                seen.append(file)
                if len(seen) == number:
                    return _Dying(file, size)
            return plain(file, mode, *args, **kwargs)

        builtins.open = dying_open

    return prelude


def in_copy(number, size):
    """In fairseq's ``number``-th copy of a checkpoint, after ``size`` bytes of it."""

    def prelude():
        pretend_cuda()
        plain, seen = shutil.copyfile, []

        def dying_copy(source, target, *args, **kwargs):
            seen.append(target)
            if len(seen) < number:
                return plain(source, target, *args, **kwargs)
            Path(target).write_bytes(Path(source).read_bytes()[:size])
            die()

        shutil.copyfile = dying_copy

    return prelude


def in_our_file(number, share):
    """In the ``number``-th ticket or snapshot; a ``share`` of it, or all but its new name."""

    def prelude():
        pretend_cuda()
        plain, seen = os.replace, []

        def dying_replace(source, target, *args, **kwargs):
            if str(target).endswith(".safetensors"):
                seen.append(target)
                if len(seen) == number:
                    os.truncate(source, int(os.stat(source).st_size * share))
                    die()
            return plain(source, target, *args, **kwargs)

        os.replace = dying_replace

    return prelude
