"""What ``--user-dir`` registers with fairseq: optimizers, the task, the criterion.

fairseq imports only ``tasks/`` by itself, and in spawned workers not even that; so all of it
is imported here, and the package imports this file wherever fairseq is loaded.
"""

from fairseq_lottery import tasks  # noqa: F401
from fairseq_lottery.compat import allow_fairseq_checkpoints
from fairseq_lottery.extensions import load_plugins
from fairseq_lottery.training import criterions, optimizers  # noqa: F401

allow_fairseq_checkpoints()
load_plugins()
