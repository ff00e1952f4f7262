"""What a training is, and which trainings a technique is made of."""

from fairseq_lottery.workflow.trainings import parts as _parts  # noqa: F401 - registers its own
