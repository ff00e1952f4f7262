"""The kinds of training that are killed, and what an uninterrupted one of each has left."""

import os
import signal
from dataclasses import dataclass

from toy import HALF, call, drawing, free_port, pretend_cuda, sharing, start, wait

UPDATES = 20
SAVING = ("--save-interval-updates", 4, "--validate-interval-updates", 4)
GROWING = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 14, "--prune-every", 3)
SNAPSHOTS = ("--snapshot-updates", "3,8,14")


@dataclass(frozen=True)
class Kind:
    """Flags of a training, whether it draws a ticket, and in how many processes it runs."""

    flags: tuple
    draws: bool = False
    processes: int = 1

    @property
    def half(self):
        return "--fp16" in self.flags

    @property
    def our_files(self):
        """How many tickets and snapshots it writes."""
        return 3 + self.draws


KINDS = {
    "ticket": Kind((), draws=True),
    "growing": Kind(GROWING),
    "ticket that is pruned on": Kind(GROWING, draws=True),
    "ticket, fp16 with masters": Kind((*HALF,), draws=True),
    "growing, fp16 not flattened": Kind((*HALF, "--fp16-no-flatten-grads", *GROWING)),
    "growing, two processes": Kind(GROWING, processes=2),
    "ticket, two processes, fp16": Kind((*HALF,), draws=True, processes=2),
}


def train(toy, kind, save_dir, dense, prelude=None, rank=0):
    """Run a training to its end, or to its death; what its first rank said.

    Args:
        prelude: where a rank dies; the others are killed with it, as a scheduler would.
        rank: which one.
    """
    flags = [*kind.flags, *SAVING, *SNAPSHOTS]
    flags += drawing(dense, 0.6) if kind.draws else ()
    arguments = toy.arguments(save_dir, *flags, updates=UPDATES)
    if kind.processes == 1:
        return call("fairseq_cli.train", arguments, toy.folder, prelude=prelude or pretend_cuda)
    port = free_port()
    ranks = []
    for number in range(kind.processes):
        own = prelude if prelude is not None and number == rank else pretend_cuda
        words = [*arguments, *sharing(port, number), "--ddp-backend", "legacy_ddp"]
        ranks.append(start("fairseq_cli.train", words, toy.folder, prelude=own))
    if prelude is not None:
        os.waitid(os.P_PID, ranks[rank][0], os.WEXITED | os.WNOWAIT)
        for number, (pid, _) in enumerate(ranks):
            if number != rank:
                os.kill(pid, signal.SIGKILL)
    done = [wait(one) for one in ranks]
    return done[rank if prelude is not None else 0]
