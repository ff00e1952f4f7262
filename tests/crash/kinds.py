"""The kinds of training that are killed, and what an uninterrupted one of each has left."""

import os
import signal
from dataclasses import dataclass

from toy import HALF, call, drawing, free_port, pretend_cuda, sharing, start, wait

from fairseq_lottery.formats import read_source
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.pruning.draw_pruning import anatomy_of

UPDATES = 20
SAVING = ("--save-interval-updates", 4, "--validate-interval-updates", 4)
PRUNING = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 14, "--prune-every", 3)
EXCHANGING = ("--pruner", "set", "--prune-to", 0.8, "--prune-start", 0, "--prune-end", 18,
              "--prune-every", 3, "--store-ema", "--ema-decay", 0.9)  # fmt: skip
GATES = ("--criterion", "label_smoothed_cross_entropy_gates", "--gate-anneal", 10,
         "--open-heads", 4, "--open-units", "50%", *HALF)  # fmt: skip
SNAPSHOTS = ("--snapshot-updates", "3,8,14")


@dataclass(frozen=True)
class Kind:
    """Flags of a training, whether it draws a ticket, and in how many processes it runs.

    ``closes`` says that the ticket is one of closed heads and units, ``learns`` that gates do.
    """

    flags: tuple
    draws: bool = False
    processes: int = 1
    closes: bool = False
    learns: bool = False

    @property
    def half(self):
        return "--fp16" in self.flags

    @property
    def our_files(self):
        """How many tickets and snapshots it writes."""
        return 3 + (self.draws or self.closes)

    def start(self, dense):
        """Flags of what it starts from."""
        if self.learns:
            return ("--finetune-from-model", dense / "checkpoint_last.pt")
        if self.closes:
            return (
                "--mask-from", dense / "checkpoint_last.pt", "--reset", "keep",
                "--components", closed_parts(dense),
            )  # fmt: skip
        return drawing(dense, 0.6) if self.draws else ()


#: the first five are killed in the short form; tests of training/ and heads/ kill the others
KINDS = {
    "ticket, two processes, fp16": Kind((*HALF,), draws=True, processes=2),
    "exchanging": Kind(EXCHANGING),
    "ticket that is pruned on": Kind(PRUNING, draws=True),
    "ticket, fp16 with masters": Kind((*HALF,), draws=True),
    "ticket of closed heads and units, pruned on": Kind(
        (*PRUNING, "--scope", "global"), closes=True
    ),
    "ticket": Kind((), draws=True),
    "pruning": Kind(PRUNING),
    "pruning, fp16 not flattened": Kind((*HALF, "--fp16-no-flatten-grads", *PRUNING)),
    "pruning, two processes": Kind(PRUNING, processes=2),
    "gates": Kind(GATES, learns=True),
}


def closed_parts(dense):
    """A file of heads that attend evenly and of closed units; beside the dense run."""
    path = dense.parent / "parts.json"
    if not path.exists():
        anatomy = anatomy_of(read_source(dense / "checkpoint_last.pt"))
        heads = {name: [0] for name in anatomy.modules("heads", ("enc_self", "enc_dec"))}
        units = {name: list(range(0, 64, 3)) for name in anatomy.units}
        save_choice(path, ComponentMask(anatomy, {"heads": heads, "units": units}, "uniform"), {})
    return path


def train(toy, kind, save_dir, dense, prelude=None, rank=0):
    """Run a training to its end, or to its death; what its first rank said.

    Args:
        prelude: where a rank dies; the others are killed with it, as a scheduler would.
        rank: which one.
    """
    flags = [*kind.flags, *SAVING, *SNAPSHOTS]
    flags += kind.start(dense)
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
