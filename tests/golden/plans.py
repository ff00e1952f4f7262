"""What the plans of all examples, and of configurations with other settings, come to."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def configurations():
    """Every configuration whose plan is held, by its path in the checkout.

    A plan from pre-trained weights depends on their content, which the checkout does not have.
    """
    paths = [*ROOT.glob("examples/*/*.yaml"), *ROOT.glob("tests/golden/plans/*.yaml")]
    held = [path for path in sorted(paths) if "\npretrained:" not in path.read_text()]
    return {path.relative_to(ROOT).as_posix(): path for path in held}


def plan_of(path):
    """Cell -> fingerprint of its training; and all trainings behind them, each once."""
    from fairseq_lottery.workflow.planning.plan import make_plan
    from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

    plan = make_plan(read_configuration(path))
    every = sorted({t.fingerprint for cell in plan.cells for t in cell.training.ancestors()})
    return {
        "cells": {cell.name: cell.training.fingerprint for cell in plan.cells},
        "trainings": len(every),
        "of all trainings": hashlib.sha256("".join(every).encode()).hexdigest(),
    }
