"""The options, each defined once, in groups that are used together."""

# annotations are not postponed here: their types are read
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.axes import (
    ALPHA,
    MEASURE,
    MOMENTS,
    PER,
    PRUNABLE,
    PRUNER,
    RESET,
    SCHEDULE,
    SCOPE,
    SCORE,
    STRATEGY,
    UPDATE_COUNTER,
)
from fairseq_lottery.options.option import DRAW, HEADS, TRAINING, WORKFLOW, option

_DRAWN = (DRAW, TRAINING)
_TRAINED = (TRAINING,)
_HEADS = (HEADS,)


@dataclass(frozen=True)
class Score:
    """What ranks weights."""

    score: str = option("what ranks a weight; the lowest are pruned", "magnitude", axis=SCORE)


@dataclass(frozen=True)
class Scope:
    """Which weights compete: the settings of ``masks.select``."""

    scope: str = option("which weights are ranked together", "layer", axis=SCOPE)
    min_density: float = option(
        "minimum density of each matrix under scope global", 0.0, metavar="SHARE", stored="floor"
    )


@dataclass(frozen=True)
class Ranking(Scope, Score):
    """Which weights are pruned first."""


@dataclass(frozen=True)
class Prunable:
    """Which weights may be pruned at all: the settings of ``masks.prunable_matrices``."""

    prunable: str = option("which matrices may be pruned", "all-matrices", axis=PRUNABLE)
    keep_dense: Optional[str] = option(
        "regular expression of parameters that stay dense", None, metavar="REGEX", is_regex=True
    )


@dataclass(frozen=True)
class Sources:
    """What a ticket is drawn from."""

    mask_from: str = option(
        "draw a ticket: rank the weights of this checkpoint, snapshot or ticket, and prune the"
        " lowest",
        is_file=True, places=_DRAWN, defaults={TRAINING: None},
    )  # fmt: skip
    start_from: Optional[str] = option(
        "weights that survivors are reset to; unless given, those of mask-from",
        None, is_file=True, places=_DRAWN,
    )  # fmt: skip
    sparsity: Optional[float] = option(
        "share of the prunable weights that is pruned; not needed with a scope N:M",
        None, metavar="SHARE", places=_DRAWN,
    )  # fmt: skip
    mask_file: Optional[str] = option(
        "take the mask of this file; it excludes sparsity, score, scope and prunable set",
        None, is_file=True, places=_DRAWN,
    )  # fmt: skip
    components: Optional[str] = option(
        "prune the heads and FFN units that this choice prunes; the sparsity is then a share of the"
        " weights of the others, and without a sparsity none of these is pruned",
        None, is_file=True, stored="parts", places=_DRAWN,
    )  # fmt: skip
    score_file: Optional[str] = option(
        "safetensors with matrix -> scores", None, is_file=True, places=_DRAWN
    )
    gradients: Optional[str] = option(
        "safetensors with matrix -> summed gradient, for scores that need gradients",
        None, is_file=True, places=_DRAWN,
    )  # fmt: skip
    initial: Optional[str] = option(
        "weights at update 0, for alpha std", None, is_file=True, places=_DRAWN
    )


@dataclass(frozen=True)
class Reset:
    """What survivors start from."""

    reset: str = option("what survivors start from", "rewind", axis=RESET, places=_DRAWN)
    alpha: str = option("magnitude of sign resets", "glorot", axis=ALPHA, places=_DRAWN)
    update_counter: str = option(
        "where the update counter starts", "restart", axis=UPDATE_COUNTER, stored="clock"
    )
    moments: str = option("the optimizer's state", "fresh", axis=MOMENTS, places=_DRAWN)


@dataclass(frozen=True)
class Seed:
    """What random numbers are drawn from."""

    seed: int = option(
        "seed of random scores, resets and pruners", 1, metavar="N", places=_DRAWN,
        names={TRAINING: "draw_seed"},
    )  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """Pruning during training: how much, and when. In a configuration the keys are in ``prune``."""

    sparsity: float = option(
        "prune during training, up to this sparsity", metavar="SHARE", places=_TRAINED,
        names={TRAINING: "prune_to"}, defaults={TRAINING: None},
    )  # fmt: skip
    start: int = option(
        "update of the first pruning step", metavar="UPDATE", places=(TRAINING, WORKFLOW),
        names={TRAINING: "prune_start"}, defaults={TRAINING: 0, WORKFLOW: "0%"},
    )  # fmt: skip
    # Brix et al. 2020, section 3: to update 400k of 500k, a step every 10k
    end: int = option(
        "update at which the target sparsity is reached", metavar="UPDATE",
        places=(TRAINING, WORKFLOW), names={TRAINING: "prune_end"},
        defaults={TRAINING: 0, WORKFLOW: "80%"},
    )  # fmt: skip
    every: int = option(
        "updates between two pruning steps", metavar="UPDATES", places=(TRAINING, WORKFLOW),
        names={TRAINING: "prune_every"}, defaults={TRAINING: 1000, WORKFLOW: "2%"},
    )  # fmt: skip
    schedule: str = option(
        "how the sparsity increases", "cubic", axis=SCHEDULE, places=(TRAINING, WORKFLOW),
        names={TRAINING: "prune_schedule"},
    )  # fmt: skip


@dataclass(frozen=True)
class Pruning:
    """Which pruner changes the mask during training, and options that only some pruners have."""

    pruner: str = option(
        "what changes the mask during training", "gradual", axis=PRUNER, places=_TRAINED
    )
    fraction: float = option(
        "share of the survivors that pruner set exchanges at prune-start; it falls to 0 at"
        " prune-end by half a cosine",
        0.3, metavar="SHARE", places=_TRAINED, names={TRAINING: "prune_fraction"},
    )  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Tickets, snapshots and decoding in fairseq's commands."""

    ticket: Optional[str] = option(
        "ticket to train: its mask and its start values", None, is_file=True, places=_TRAINED
    )
    snapshot_updates: Optional[str] = option(
        "write the weights at these updates into the save-dir, for example 0,4000",
        None, metavar="UPDATES", places=_TRAINED,
    )  # fmt: skip
    no_save_masters: bool = option(
        "leave the fp32 masters of half-precision runs out of checkpoints",
        False, places=_TRAINED,
    )  # fmt: skip
    sparse_decode: bool = option(
        "translate with sparse matrices, on a CPU; for fairseq-generate and -interactive",
        False, places=_TRAINED,
    )  # fmt: skip


@dataclass(frozen=True)
class Gradients:
    """How gradients of gates become importance."""

    per: str = option("what the magnitude is taken of", "sentence", axis=PER, places=_HEADS)


@dataclass(frozen=True)
class Importance:
    """What the importance of heads and FFN units is measured by."""

    measure: str = option("how importance is measured", "gradient", axis=MEASURE, places=_HEADS)


@dataclass(frozen=True)
class Choice:
    """Which heads and FFN units are pruned."""

    strategy: str = option("which are pruned", "lowest", axis=STRATEGY, places=_HEADS)


#: every group, in the order of help
GROUPS = (
    *(Run, Sources, Ranking, Prunable, Reset, Seed, Schedule, Pruning),
    *(Importance, Gradients, Choice),
)


def check_scope(scope: str, min_density: float) -> None:
    """Refuse an unknown scope, and a minimum density that is out of range or unused."""
    SCOPE.refuse_unknown(scope)
    if not 0 <= min_density < 1:
        raise LotteryError(f"the minimum density {min_density:g} is outside [0, 1); 0.05 keeps 5 %")
    if min_density and scope != "global":
        raise LotteryError(
            f"the minimum density {min_density:g} requires scope global, not {scope}; leave it out"
        )
