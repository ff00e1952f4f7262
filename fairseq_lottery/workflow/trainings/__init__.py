"""What a training is, and which trainings a technique is made of."""

from fairseq_lottery.extensions import load_techniques

load_techniques()
