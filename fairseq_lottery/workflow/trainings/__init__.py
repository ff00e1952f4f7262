"""Descriptions of trainings, and the techniques that consist of them."""

from fairseq_lottery.extensions import load_techniques

load_techniques()
