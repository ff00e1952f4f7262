"""Readers under watch: in forked children with little memory, whose silence is a hang.

An input is a function that makes something bad in an empty folder and returns its path. What a
reader may do with it is refuse it, in one sentence and without leaving a trace, or find in it
exactly what is in the good file that it was made of.
"""

import ctypes
import gc
import json
import os
import resource
import select
import shutil
import signal
import stat
import traceback
from collections import Counter
from dataclasses import dataclass

from fairseq_lottery.errors import LotteryError

#: bytes that a reader may take on top of what this process has; the good files are far smaller.
#: Its address space is limited to as much, and what was really in memory is measured
MEMORY = 768 << 20
#: seconds of computing for one corpus, and seconds of silence that are a hang. Neither measures
#: how fast anything is: the machine may be busy
COMPUTING, SILENCE = 600, 300
#: a file that code out of an input would make
CANARY = "canary"


@dataclass(frozen=True)
class Outcome:
    """What came of one input: ``refused``, ``equal`` content, or ``failed`` (and why).

    ``memory`` is the most bytes that the process had in memory meanwhile, above those at its start.
    """

    name: str
    result: str
    said: str
    memory: int = 0


def run(read, inputs, folder, good=None, signed=()):
    """Hand every input to ``read``; returns the outcomes in their order.

    Args:
        read: path -> what is in it, a text; or raises.
        inputs: name -> function of an empty folder that returns a path.
        good: what ``read`` finds in the uncorrupted file; None where no input may be accepted.
        signed: names of inputs that may also be read as something else, with the result
            ``another``: whole files of other content.
    """
    names = list(inputs)
    outcomes = []
    while len(outcomes) < len(names):
        outcomes += _in_child(read, inputs, names[len(outcomes) :], folder, good, signed)
    return outcomes


def judged(reader, outcomes, least=60):
    """Print the counts of a corpus, and fail with every input that failed; returns the counts."""
    found = Counter(outcome.result for outcome in outcomes)
    most = max(outcomes, key=lambda outcome: outcome.memory)
    print(f"\n{reader}: {len(outcomes)} inputs, {dict(found)}; {most.memory >> 20} MiB at most"
          f" ({most.name})")  # fmt: skip
    assert most.memory <= MEMORY, f"{most.name} took {most.memory >> 20} MiB"
    failed = [f"{o.name}: {o.said}" for o in outcomes if o.result == "failed"]
    assert not failed, f"{len(failed)} of {len(outcomes)}:\n" + "\n".join(failed)
    assert len({outcome.name for outcome in outcomes}) == len(outcomes)
    assert found["refused"] >= least
    return found


def one_sentence(text):
    """Why a text is no sentence to end a command with; empty where it is one."""
    if not text or len(text) > 8000:
        return f"{len(text)} characters"
    if not text.isprintable():
        return "it holds what a terminal acts on"
    return "it tells of the code" if "Traceback" in text or "0x7f" in text else ""


def _in_child(read, inputs, names, folder, good, signed):
    """Outcomes of the first of ``names``, until the child has ended one way or another."""
    inside, outside = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(inside)
        try:
            _serve(read, inputs, names, folder, good, signed, outside)
        finally:
            os._exit(0)
    os.close(outside)
    outcomes, buffer, hung = [], b"", False
    while True:
        ready, _, _ = select.select([inside], [], [], SILENCE)
        block = os.read(inside, 1 << 16) if ready else b""
        if not ready:
            os.kill(child, signal.SIGKILL)
            hung = True
        buffer += block
        *lines, buffer = buffer.split(b"\n")
        outcomes += [Outcome(*json.loads(line)) for line in lines]
        if not block:
            break
    os.close(inside)
    status = os.waitpid(child, 0)[1]
    if len(outcomes) < len(names):
        end = f"nothing for {SILENCE} s" if hung else f"the process ended with status {status}"
        outcomes.append(Outcome(names[len(outcomes)], "failed", end))
    return outcomes


def _serve(read, inputs, names, folder, good, signed, pipe):
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY,) * 2)
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + COMPUTING,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.freeze()  # what is there already need not be looked at before every input
    _forget_peak()
    start = _peak_memory()
    for name in names:
        place = folder / "input"
        place.mkdir()
        os.chdir(place)  # where code would leave its canary
        try:
            path = inputs[name](place)
            _forget_peak()
            outcome = *_try(read, path, place, good, name in signed), _peak_memory() - start
        except Exception:  # the input could not be made: a mistake in the corpus
            outcome = "failed", traceback.format_exc()
        finally:
            os.chdir(folder)
            remove(place)
        os.write(pipe, json.dumps([name, *outcome]).encode() + b"\n")


def _forget_peak():
    """Give back what making an input took, so that the next peak is its reader's."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak_memory():
    """The most bytes of this process that were in memory since ``_forget_peak``."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines["VmHWM"].split()[0]) << 10


def _try(read, path, place, good, signed):
    before = listing(place)
    try:
        result, said = "other", read(path)
    except LotteryError as error:
        result, said = "refused", str(error)
        strange = one_sentence(said)
        if strange:
            result, said = "failed", f"no sentence ({strange}): {said[:500]!r}"
        elif any("allocate" in str(e) or isinstance(e, MemoryError) for e in _causes(error)):
            result, said = "failed", f"memory was asked for first: {said}"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        result, said = "failed", f"{error!r:.500} in {last.filename}:{last.lineno}"
    if result == "other" and said == good:
        result, said = "equal", ""
    elif result == "other":
        result, said = ("another", "") if signed else ("failed", f"read as {said!r:.500}")
    if (place / CANARY).exists():
        return "failed", "code out of the input ran"
    after = listing(place)
    return (result, said) if before == after else ("failed", f"left {set(after) ^ set(before)}")


def _causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def listing(folder):
    """Name, kind and size of everything in a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        found.append((str(path.relative_to(folder)), stat.S_IFMT(status.st_mode), size))
    return found


def remove(place):
    """Take a folder away, whatever is in it."""
    for path in place.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(place)
