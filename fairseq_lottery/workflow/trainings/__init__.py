"""Descriptions of trainings, and the techniques that consist of them."""

import importlib

from fairseq_lottery.extensions import load_techniques

load_techniques()
importlib.import_module("fairseq_lottery.workflow.trainings.transfer_techniques")
