"""Running one row of the matrix, in this process or in each of two."""

import copy
import re
from dataclasses import dataclass
from pathlib import Path

from matrix.cells import BITS
from matrix.invariants import matrices
from matrix.training import Training, configuration
from omegaconf import open_dict
from toy import same

from fairseq_lottery.compat import PHANTOM_PARAMETER
from fairseq_lottery.formats import read_checkpoint

UPDATES = 8
PRUNING = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 6, "--prune-every", 2)
#: weights are exchanged after updates 3 and 5; a run that is saved after 4 has summed gradients
EXCHANGING = ("--prune-to", 0.8, "--prune-start", 1, "--prune-end", 7, "--prune-every", 2)
#: weights come back with the values that they had, after the update of the checkpoint, too
KEEPING = (
    *("--prune-to", 0.2, "--prune-start", 1, "--prune-end", 8, "--prune-every", 1),
    *("--lr", 0.1),
)
#: what a checkpoint is made with that another training goes on from
FIRST = ("--prune-to", 0.5, "--prune-start", 1, "--prune-end", 3, "--prune-every", 1)
OF_GRADIENTS = "matrix.pruners:OfGradients"
EMA = {
    "no": (),
    "yes": ("--store-ema", "--ema-decay", 0.6),
    "fp32": ("--store-ema", "--ema-decay", 0.6, "--ema-fp32"),
}


@dataclass
class Place:
    """Where rows are run.

    Attributes:
        data: the toy's.
        dense: folder of a dense training of four updates with an EMA, and its snapshots.
        folder: to train in; the same for both of two processes.
        distributed: flags of this process's place among two.
        cpu: whether GPUs are left alone.
    """

    data: Path
    dense: Path
    folder: Path
    distributed: tuple = ()
    cpu: bool = True

    def configuration(self, row, save_dir, *flags):
        parallel = ()
        if row.processes != "1":
            parallel = (*self.distributed, "--ddp-backend", row.processes)
            if row.processes in ("c10d", "pytorch_ddp") and self.has_untrained_copies():
                parallel += ("--find-unused-parameters",)  # or the second update would not start
        precision = row.precision
        if precision == "bf16" and row.command == "fairseq-train":
            precision, flags = "fp32", (*flags, "--bf16")
        return configuration(
            self.data, self.folder / row.name / save_dir, "--max-update", UPDATES,
            "--update-freq", row.frequency, *EMA[row.ema], *parallel, *flags,
            precision=precision, cpu=self.cpu,
        )  # fmt: skip

    def has_untrained_copies(self):
        """Whether models carry parameters that are not trained, as those of official 0.12.2 do."""
        names = read_checkpoint(self.dense / "checkpoint_last.pt")["model"]
        return any(re.match(PHANTOM_PARAMETER, name) for name in names)

    def drawing(self, rewinds):
        start = "snapshot_2.safetensors" if rewinds else "snapshot_0.safetensors"
        return (
            "--mask-from", self.dense / "snapshot_4.safetensors", "--start-from",
            self.dense / start, "--sparsity", 0.6,
        )  # fmt: skip


def train_dense(data, folder):
    """What rows start from: a dense training of four updates, with snapshots and an EMA."""
    flags = ("--max-update", 4, "--snapshot-updates", "0,2,4", "--store-ema")
    Training(configuration(data, folder, *flags)).run(4).save()


def run_row(row, kind, place):
    """Train one cell, every invariant checked after every update; returns the last training."""
    rewinds = row.also == "--update-counter rewind"
    if kind == "ticket" or rewinds:
        flags = place.drawing(rewinds)
    else:
        flags = ()
    if rewinds:
        flags += ("--update-counter", "rewind")
    pruning = PRUNING if kind == "pruning" else ()
    if row.also in ("--pruner gradual-regrow", "--pruner movement"):
        pruning = (*KEEPING, *row.also.split())
    elif row.also.startswith("--pruner"):
        name = row.also.split()[1]
        pruner = OF_GRADIENTS if name == "of" else name
        pruning = (*EXCHANGING, "--pruner", pruner)
    if row.also == "--score of gradients":
        pruning += ("--score", "matrix.scores:taylor", "--prune-start", 1)
    if row.also == "--ema-seed-model":
        flags += ("--ema-seed-model", place.dense / "checkpoint_last.pt")
    if row.also == "--store-ema only now":
        return _without_ema_before(row, place, flags + pruning)
    if row.start == "--finetune-from-model":
        return _finetuned(row, kind, place, flags, pruning)
    if row.start.startswith("--"):
        return _restarted(row, kind, place, flags + pruning)
    whole = place.configuration(row, f"{kind}-whole", *flags, *pruning)
    if row.start == "fresh":
        return Training(whole).run(UPDATES)
    return _resumed(whole, place.cpu and getattr(row, kind) == BITS)


def _resumed(cfg, exactly):
    parts = copy.deepcopy(cfg)
    whole = Training(cfg).run(UPDATES)
    with open_dict(parts):
        parts.checkpoint.save_dir = cfg.checkpoint.save_dir.replace("-whole", "-parts")
    Training(parts).run(UPDATES // 2).save()
    resumed = Training(parts)
    assert resumed.update == UPDATES // 2
    resumed.run(UPDATES)
    if exactly:
        one, other = whole.state(), resumed.state()
        for part in one:
            assert same(one[part], other[part]), f"{part} of the resumed run is another"
    return resumed


def _restarted(row, kind, place, flags):
    """The mask stays though fairseq's counter and the optimizer's state do not."""
    cfg = place.configuration(row, kind, *flags, row.start)
    before = Training(cfg).run(UPDATES // 2).save()
    after = Training(cfg)
    assert after.update == 0
    _assert_stays(before, after, kind)
    return after.run(UPDATES)


def _finetuned(row, kind, place, flags, pruning):
    """The mask of a checkpoint of ours stays, and may grow on."""
    first = flags if kind == "ticket" else FIRST
    before = Training(place.configuration(row, f"{kind}-first", *first)).run(4).save()
    path = Path(before.cfg.checkpoint.save_dir) / "checkpoint_last.pt"
    cfg = place.configuration(row, f"{kind}-then", "--finetune-from-model", path, *pruning)
    after = Training(cfg)
    assert after.update == 0
    _assert_stays(before, after, kind)
    return after.run(UPDATES)


def _assert_stays(before, after, kind):
    assert after.task.run.mask == before.task.run.mask
    if kind == "pruning":  # on from the densest row that no matrix has to grow back for
        found = matrices(after.trainer.get_model())
        shares = [int((~k).sum()) / found[n][1] for n, k in after.watch.mask.items()]
        after.watch.goes_on_from(max(shares))


def _without_ema_before(row, place, flags):
    plain = place.configuration(row, "before", *flags)
    later = copy.deepcopy(plain)
    with open_dict(plain):
        plain.ema.store_ema = False
    Training(plain).run(2).save()
    return Training(later)
