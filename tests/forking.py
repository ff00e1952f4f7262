"""A Python that starts in milliseconds: ``python()`` is the path of one that has fairseq loaded.

Importing torch and fairseq takes seconds of CPU in each of the dozens of processes that a workflow
starts. A server imports them once. What lies at the path is a small client, which asks the server
to fork, and runs ``-m``, ``-c`` and scripts in the fork: in the client's folder and environment,
with its files, its signals, and its exit code. ``sys.executable`` is the client there too, so that
processes of processes are forked as well. ``folder()`` has the installed commands beside it, run in
the same way. Tests of how an interpreter starts, or is stopped, use ``sys.executable`` instead.
"""

import array
import atexit
import contextlib
import functools
import gc
import importlib
import logging
import marshal
import os
import resource
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

#: loaded before the first fork; the last ones where they are installed
PRELOADED = (
    "toy", "fairseq_cli.generate", "fairseq_cli.preprocess", "fairseq_cli.interactive",
    "fairseq_cli.hydra_train", "sacrebleu", "sentencepiece", "torch.distributed.run",
    "fairseq_lottery.cli.main", "fairseq_lottery.workflow.stages.runner",
    "fairseq_lottery.workflow.stages.score", "fairseq_lottery.training.lottery_run",
    "snakemake.cli", "matplotlib.pyplot", "scipy.stats", "ctranslate2.converters", "sacremoses",
)  # fmt: skip
SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
           signal.SIGTERM]  # fmt: skip

#: asks for a fork, passes signals on, and ends as the fork did; imports only what is built in
CLIENT = """\
#!{python} -IS
import _signal, _socket, marshal, os, resource, sys
signals = {signals}
ignored = [n for n in signals if _signal.getsignal(n) == _signal.SIG_IGN]
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
server.connect({address!r})
largest = resource.getrlimit(resource.RLIMIT_FSIZE)
job = marshal.dumps((sys.argv, os.getcwd(), dict(os.environ), ignored, largest))
files = b"".join(n.to_bytes(4, sys.byteorder) for n in (0, 1, 2))
server.sendmsg([len(job).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
server.sendall(job)
for number in signals:
    _signal.signal(number, lambda number, frame: server.send(bytes([number])))
answer = server.recv(4)
code = int.from_bytes(answer, "big", signed=True) if answer else 1
if code < 0:
    if -code != _signal.SIGKILL:
        _signal.signal(-code, _signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def folder() -> Path:
    """Start the server; a copy of the environment's ``bin`` with clients in it."""
    place = Path(tempfile.mkdtemp(prefix="forking-"))
    address = str(place / "socket")
    ready, inside = os.pipe()
    server = subprocess.Popen(
        [sys.executable, __file__, address, str(inside)], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[inside],
        start_new_session=True,
    )  # fmt: skip
    os.close(inside)

    here = os.getpid()

    def stop():
        if os.getpid() != here:
            return  # a fork of this process that ends as Python does
        # a worker that outlives its training may hold this pipe, so its end is not awaited
        with contextlib.suppress(BrokenPipeError):
            server.stdin.write(b"1")
            server.stdin.close()
        server.wait()
        shutil.rmtree(place, ignore_errors=True)

    atexit.register(stop)
    assert os.read(ready, 1) == b"1", "the server of forks does not start"
    os.close(ready)
    numbers = [int(number) for number in SIGNALS]
    client = CLIENT.format(python=sys.executable, signals=numbers, address=address)
    for command in Path(sys.executable).parent.iterdir():
        if command.name == "python" or command.name.startswith(("fairseq-", "sacrebleu")):
            (place / command.name).write_text(client)
            (place / command.name).chmod(0o755)
        else:
            (place / command.name).symlink_to(command)
    return place


def python() -> str:
    """Path of the Python that forks."""
    return str(folder() / "python")


# --- the server ----------------------------------------------------------------------------------


def serve(address: str, ready: int) -> tuple:
    """Fork for every client until standard input has a byte or ends.

    Returns in each fork, with its job.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(64)
    ended, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    selector = selectors.DefaultSelector()
    for source in (listener, ended, sys.stdin.buffer):
        selector.register(source, selectors.EVENT_READ)
    clients = {}  # pid -> connection
    os.write(ready, b"1")
    os.close(ready)
    while True:
        for key, _ in selector.select():
            source = key.fileobj
            if source is sys.stdin.buffer:
                for pid in clients:
                    os.kill(pid, signal.SIGKILL)
                sys.exit(0)
            elif source is listener:
                client, _ = listener.accept()
                job, files = receive(client)
                pid = os.fork() if job else None  # it may have been killed as it asked
                if pid == 0:
                    os.setpgid(0, 0)
                    signal.set_wakeup_fd(-1)
                    selector.close()
                    for other in (listener, ended, wakeup, client, *clients.values()):
                        other.close()
                    return job, files
                for file in files:
                    os.close(file)
                if pid:
                    clients[pid] = client
                    selector.register(client, selectors.EVENT_READ)
            elif source is ended:
                ended.recv(4096)
                for pid, code in reaped():
                    client = clients.pop(pid)
                    selector.unregister(client)
                    with contextlib.suppress(OSError):
                        client.sendall(code.to_bytes(4, "big", signed=True))
                    client.close()
            elif source in clients.values():
                (pid,) = (pid for pid, client in clients.items() if client is source)
                for number in source.recv(64) or [signal.SIGKILL]:  # it ended: so does the fork
                    os.kill(pid, number)


def receive(client):
    """What a client asks for, None where it does not say all of it; and its three files."""
    files = array.array("i")
    length, ancillary, _, _ = client.recvmsg(4, socket.CMSG_SPACE(3 * files.itemsize))
    for _, _, content in ancillary:
        files.frombytes(content)
    job = b""
    while len(job) < int.from_bytes(length, "big"):
        part = client.recv(1 << 20)
        if not part:
            return None, files
        job += part
    return marshal.loads(job) if job else None, files


def reaped():
    """Pid and exit code of every fork that has ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)


# --- the fork ------------------------------------------------------------------------------------


def run(job, files) -> int:
    """Run what the client was called with, as a new interpreter would; returns the exit code."""
    (name, *words), place, environment, ignored, largest = job
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", closefd=False, buffering=1, errors=errors)
        for number, mode, errors in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "replace"))
    )
    for number in SIGNALS:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in ignored else default)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, largest)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = str(Path(name).with_name("python"))
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [os.path.abspath(path) for path in paths if path]
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    # these set up logging when they are imported
    for module in [module for module in sys.modules if module.startswith("fairseq_cli.")]:
        del sys.modules[module]
    code = 1
    try:
        run_main(name, words)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()
    atexit._run_exitfuncs()
    return code


def run_main(name, words):
    """``python -m``, ``-c`` or a script; or the installed command of a name."""
    if Path(name).name != "python":
        words = [str(Path(sys.prefix) / "bin" / Path(name).name), *words]
    if words[0] == "-u":
        del words[0]
    if words[0] == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = words[1:]
        if not hasattr(sys.modules.get(words[1]), "__path__"):  # runpy warns of what is there
            sys.modules.pop(words[1], None)
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
    elif words[0] == "-":
        sys.path.insert(0, "")
        sys.argv = words
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def preload():
    """Import what forks use, and let fairseq read a command line, which fills caches."""
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here.parent)]
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    sys.modules["toy"].warm_up()
    # not what a new interpreter of a user would find
    sys.path[:2] = []
    del sys.modules["toy"]
    gc.collect()
    gc.freeze()


def main():
    preload()
    job, files = serve(sys.argv[1], int(sys.argv[2]))
    code = 1
    try:
        code = run(job, files)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code & 0xFF)


if __name__ == "__main__":
    main()
