"""One process of a training on two, or one with a GPU of its own: runs cells, one after another.

``worker.py DATA DENSE FOLDER RESULTS RANK WORLD PORT CPU CELL...`` writes a line of JSON into
RESULTS for each cell, ``<row's name>/<ticket or pruning>``: what went wrong, and what every rank
must have the same.
"""

import json
import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import fairseq_cli.train  # noqa: F401 - the plugin registers where fairseq is loaded already
import torch
from fairseq.distributed import utils as distributed
from matrix.cells import ROWS
from matrix.rows import Place, run_row
from matrix.training import in_this_process

import fairseq_lottery.plugin  # noqa: F401


def accept_cpu():
    """``DistributedDataParallel`` of torch takes no device on a CPU; fairseq gives it one."""
    from fairseq.models import distributed_fairseq_model as module

    wrapped = module.DistributedDataParallel

    def wrapper(*args, device_ids, output_device, **kwargs):
        return wrapped(*args, **kwargs)

    module.DistributedDataParallel = wrapper


def cli_main():
    data, dense, folder, results, rank, world, port, cpu, *cells = sys.argv[1:]
    flags = ()
    if int(world) > 1:
        flags = (
            "--distributed-world-size", world, "--distributed-rank", rank, "--device-id",
            0 if cpu == "cpu" else rank, "--distributed-init-method", f"tcp://127.0.0.1:{port}",
            "--distributed-no-spawn", "--distributed-backend", "gloo" if cpu == "cpu" else "nccl",
        )  # fmt: skip
    if cpu == "cpu":
        accept_cpu()
    place = Place(Path(data), Path(dense), Path(folder), flags, cpu == "cpu")
    rows = {row.name: row for row in ROWS}
    with open(results, "w") as file, in_this_process(place.cpu):
        for cell in cells:
            name, kind = cell.split("/")
            found = {"cell": cell, "error": None}
            try:
                if flags and not torch.distributed.is_initialized():
                    cfg = place.configuration(rows[name], "init")
                    if cpu != "cpu":
                        torch.cuda.set_device(int(rank))
                    distributed.distributed_init(cfg)
                training = run_row(rows[name], kind, place)
                found.update(looks=training.watch.looks, digest=training.watch.digest())
            except BaseException:
                found["error"] = traceback.format_exc()
            print(json.dumps(found), file=file, flush=True)
            if found["error"] and flags:
                os._exit(1)  # the other process waits for this one, and learns of it so
    return 0


if __name__ == "__main__":
    sys.exit(cli_main())
