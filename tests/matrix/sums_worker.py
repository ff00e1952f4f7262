"""One of two processes that sum dense gradients: trains every case, before and over an exchange.

``sums_worker.py DATA DENSE FOLDER RESULTS RANK PORT CASE...`` saves into RESULTS for each case,
``<precision>/<batches an update>``, the sums before the exchange and a digest after it.
"""

import os
import sys
import traceback
from pathlib import Path

import torch
from fairseq.distributed import utils as distributed
from matrix.cells import COMMON, Row
from matrix.rows import OF_GRADIENTS, Place
from matrix.training import Training, in_this_process
from toy import sharing

import fairseq_lottery.plugin  # noqa: F401

#: weights are exchanged at update 3; what they are hardly changes, so that sums can be compared
FLAGS = (
    *("--pruner", OF_GRADIENTS, "--prune-to", 0.8, "--prune-start", 0, "--prune-end", 7),
    *("--prune-every", 3, "--dropout", 0, "--lr", 1e-9),
)


def summed(place, precision, frequency, processes):
    """Sums of the first two updates, and the training after the exchange, which is checked."""
    row = Row(precision, processes, frequency, command=COMMON)
    training = Training(place.configuration(row, "sums", *FLAGS)).run(2)
    saved = training.state()["optimizer"]["lottery"]
    assert saved["dense"] is True
    run = training.task.run
    sums = run._tensors.by_name([total.clone() for total in saved["gradients"]])
    sums = {name: sums[name] for name in run.mask}
    training.run(4)
    assert training.watch.exchanged > 0
    return sums, training


def cli_main():
    data, dense, folder, results, rank, port, *cases = sys.argv[1:]
    place = Place(Path(data), Path(dense), Path(folder), tuple(sharing(port, rank)))
    found = {}
    with in_this_process():
        distributed.distributed_init(place.configuration(Row(processes="legacy_ddp"), "init"))
        for case in cases:
            precision, frequency = case.split("/")
            try:
                sums, training = summed(place, precision, int(frequency), "legacy_ddp")
                found[case] = {"sums": sums, "digest": training.watch.digest()}
            except BaseException:
                traceback.print_exc()
                os._exit(1)  # the other process waits for this one, and learns of it so
    torch.save(found, results)
    return 0
