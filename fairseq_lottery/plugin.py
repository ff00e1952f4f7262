"""Registration of optimizers, tasks and criteria with fairseq for ``--user-dir``.

fairseq itself imports only ``tasks/``, and spawned workers do not import even that. So this
module imports everything, and the package imports this module wherever fairseq is loaded.
"""

from fairseq_lottery import tasks  # noqa: F401
from fairseq_lottery.extensions import load_plugins
from fairseq_lottery.formats.checkpoints.safe_load import allow_fairseq_checkpoints
from fairseq_lottery.training import criterions, optimizers  # noqa: F401

allow_fairseq_checkpoints()
load_plugins()
