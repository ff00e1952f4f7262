"""Processes that a training forks, to load data, outlive the signal that stops the training.

A scheduler sends SIGTERM to every process of a job. torch's data loaders die of it, and the
training would fail for want of them before it could save. fairseq gives no way to run
anything of ours in them when they start; Python does, in every process that is forked.
"""

from __future__ import annotations

import os
import signal
import threading

_protected = False
_registered = False


def protect_children(on: bool) -> None:
    """From now on, let the processes that this one forks be ended by it alone, or no longer so."""
    global _protected, _registered
    _protected = on
    if not _registered:
        _registered = True  # Python has no way back
        os.register_at_fork(after_in_child=_begin_child)


def _begin_child() -> None:
    if not _protected:
        return
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _obey(parent: int) -> None:
    """Wait for a SIGTERM from ``parent``, which sends it to those that are left at its end."""
    while True:
        sender = signal.sigwaitinfo({signal.SIGTERM}).si_pid
        if sender == parent or os.getppid() != parent:  # or from anyone, when that is gone
            os._exit(0)
