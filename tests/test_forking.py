"""The Python that forks behaves as one that starts: arguments, files, signals, exit codes."""

import atexit
import os
import resource
import signal
import subprocess

import pytest

pytest.importorskip("fairseq")

from forking import folder, python

pytestmark = pytest.mark.slow

WAIT = "print('ready', flush=True); import time; time.sleep(600)"


def run(*words, **kwargs):
    return subprocess.run([python(), *words], capture_output=True, text=True, **kwargs)


def test_code_modules_and_scripts(tmp_path):
    (tmp_path / "own.py").write_text(
        "import os, sys\n"
        "print(__name__, sys.argv[1:], os.getcwd(), os.environ['WORD'], sys.stdin.read())\n"
        "sys.exit(75)\n"
    )
    given = {"cwd": tmp_path, "env": {**os.environ, "WORD": "x"}, "input": "text"}
    for words in (("own.py",), ("-m", "own"), ("-c", "exec(open('own.py').read())")):
        done = run(*words, "a", **given)
        assert done.returncode == 75 and done.stderr == ""
        assert done.stdout == f"__main__ ['a'] {tmp_path} x text\n"
    done = run("-c", "raise ValueError('no')")
    assert done.returncode == 1 and done.stderr.endswith("\nValueError: no\n")


def test_what_it_starts_is_forked_too():
    command = "[sys.executable, '-c', 'import sys; sys.exit(3)']"
    code = f"import subprocess, sys; sys.exit(subprocess.run({command}).returncode)"
    assert run("-c", code).returncode == 3


def test_a_fork_of_the_tests_that_ends_as_python_does_leaves_the_server():
    place = folder()
    pid = os.fork()
    if not pid:
        try:
            atexit._run_exitfuncs()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert (place / "python").exists() and run("-c", "import sys; sys.exit(3)").returncode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both(number):
    process = subprocess.Popen([python(), "-c", WAIT], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait() == -number
    assert process.stdout.read() == ""  # ends when the last process that writes to it does


def test_a_handled_signal_and_a_limit_reach_the_fork(tmp_path):
    code = "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(7)); "
    process = subprocess.Popen([python(), "-c", code + WAIT], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGUSR1)
    assert process.wait() == 7
    process.stdout.close()
    done = run(
        "-c", "open('file', 'wb', buffering=0).writelines([bytes(1000)] * 2)", cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert done.returncode == 1 and "File too large" in done.stderr
