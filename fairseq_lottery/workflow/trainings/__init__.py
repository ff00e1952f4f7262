"""Descriptions of trainings, and the techniques that consist of them."""

import importlib

from fairseq_lottery.extensions import load_techniques

load_techniques()
for _name in ("transfer_techniques", "pair_techniques", "sparse_techniques"):
    importlib.import_module(f"fairseq_lottery.workflow.trainings.{_name}")
