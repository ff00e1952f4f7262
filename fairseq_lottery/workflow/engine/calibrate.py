"""Measure the time of an update before the plan runs."""

from __future__ import annotations

import re
import tempfile

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.json_files import write_file
from fairseq_lottery.workflow.command_lines.train_env import fairseq_train, run
from fairseq_lottery.workflow.planning.cost import CALIBRATED
from fairseq_lottery.workflow.planning.plan import Plan


def calibrate(plan: Plan, executor: str) -> None:
    """Train the dense model for 200 updates without saving, and write ``calibration.json``.

    Raises:
        LotteryError: the training failed.
    """
    configuration = plan.configuration
    dense = plan.trainings[0]
    updates = min(CALIBRATED, dense.updates)
    half = max(1, updates // 2)
    with tempfile.TemporaryDirectory(dir=configuration.out) as folder:
        flags = dense.flags.plus("--max-update", updates, "--log-interval", half, "--log-format",
                                 "simple", "--disable-validation", "--no-save")  # fmt: skip
        words = fairseq_train(configuration, executor, dense.seed, folder, flags.words())
        ended = run(configuration, words)
    output = ended.stdout + ended.stderr
    speeds = re.findall(r"ups=([\d.]+)", output)
    parameters = re.search(r"num\. shared model params: ([\d,]+) \(num\. trained: ([\d,]+)", output)
    if not speeds or not parameters or float(speeds[-1]) <= 0:
        last = " / ".join(output.strip().splitlines()[-2:])
        raise LotteryError(f"the calibration failed with code {ended.returncode}: {last[:400]}")
    calibration = {
        "seconds_per_update": 1 / float(speeds[-1]),
        "parameters": int(parameters.group(2).replace(",", "")),
        "updates": updates,
    }
    write_file(configuration.out / "calibration.json", calibration)
