"""Groups of options that are used together; each option is defined once."""

# no ``from __future__ import annotations``: ``options`` reads the types of the fields
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import axes
from fairseq_lottery.options.option import DRAW, HEADS, TRAINING, WORKFLOW, option

_DRAWN = (DRAW, TRAINING)
_TRAINED = (TRAINING,)
_HEADS = (HEADS,)


@dataclass(frozen=True)
class Score:
    """The score that ranks weights."""

    score: str = option("score of a weight; the lowest are pruned", "magnitude", axis=axes.SCORE)


@dataclass(frozen=True)
class Scope:
    """Which weights are compared with each other."""

    scope: str = option("weights that are ranked together", "layer", axis=axes.SCOPE)
    min_density: float = option(
        "minimum density of each matrix under scope global", 0.0, metavar="SHARE", stored="floor"
    )


@dataclass(frozen=True)
class Ranking(Scope, Score):
    """The ranking of weights: score and scope."""


@dataclass(frozen=True)
class Prunable:
    """Matrices that may be pruned."""

    prunable: str = option("matrices that may be pruned", "all-matrices", axis=axes.PRUNABLE)
    keep_dense: Optional[str] = option(
        "regular expression of parameters that stay dense", None, metavar="REGEX", is_regex=True
    )


@dataclass(frozen=True)
class Sources:
    """Files and sparsity of a ticket."""

    mask_from: str = option(
        "draw a ticket from the weights of this checkpoint, snapshot or ticket",
        is_file=True, places=_DRAWN, defaults={TRAINING: None},
    )  # fmt: skip
    start_from: Optional[str] = option(
        "weights for the reset of survivors; default: those of mask-from",
        None, is_file=True, places=_DRAWN,
    )  # fmt: skip
    sparsity: Optional[float] = option(
        "share of the prunable weights to prune; not needed with a scope N:M",
        None, metavar="SHARE", places=_DRAWN,
    )  # fmt: skip
    mask_file: Optional[str] = option(
        "mask to use unchanged; excludes sparsity, score, scope and prunable set",
        None, is_file=True, places=_DRAWN,
    )  # fmt: skip
    components: Optional[str] = option(
        "file with a choice of heads and FFN units to prune; the sparsity applies to all other"
        " weights, which are all kept without a sparsity",
        None, is_file=True, stored="parts", places=_DRAWN,
    )  # fmt: skip
    score_file: Optional[str] = option(
        "safetensors file with matrix -> scores", None, is_file=True, places=_DRAWN
    )
    gradients: Optional[str] = option(
        "safetensors file with matrix -> summed gradient, for scores that need gradients",
        None, is_file=True, places=_DRAWN,
    )  # fmt: skip
    initial: Optional[str] = option(
        "weights at update 0, for alpha std", None, is_file=True, places=_DRAWN
    )


@dataclass(frozen=True)
class Reset:
    """Start values of the survivors."""

    reset: str = option("start values of survivors", "rewind", axis=axes.RESET, places=_DRAWN)
    alpha: str = option("magnitude of sign resets", "glorot", axis=axes.ALPHA, places=_DRAWN)
    noise_scale: Optional[float] = option(
        "standard deviation of the noise of reset noise, as a share of that of the matrix's"
        " survivors",
        None, metavar="K", places=_DRAWN,
    )  # fmt: skip
    update_counter: str = option(
        "where the update counter starts", "restart", axis=axes.UPDATE_COUNTER, stored="clock"
    )
    moments: str = option("optimizer state at the start", "fresh", axis=axes.MOMENTS, places=_DRAWN)


@dataclass(frozen=True)
class MaskControl:
    """Control experiments with a mask."""

    shuffle_mask: bool = option(
        "permute the mask at random within each matrix, which keeps as many weights as before",
        False, places=_DRAWN,
    )  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """Seed of random numbers."""

    seed: int = option(
        "seed of random scores, shuffles, resets and pruners", 1, metavar="N", places=_DRAWN,
        names={TRAINING: "draw_seed"},
    )  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """Sparsity and schedule of pruning during training; configurations have them in ``prune``."""

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
        "how the sparsity increases", "cubic", axis=axes.SCHEDULE, places=(TRAINING, WORKFLOW),
        names={TRAINING: "prune_schedule"},
    )  # fmt: skip


@dataclass(frozen=True)
class Pruning:
    """Pruner that changes the mask during training, and options of single pruners."""

    pruner: str = option(
        "pruner that changes the mask during training", "gradual", axis=axes.PRUNER, places=_TRAINED
    )
    fraction: Optional[float] = option(
        "share of the survivors that a pruner with regrowth exchanges at prune-start; decreases to"
        " 0 at prune-end along half a cosine; default: that of the pruner, 0.3 for set and rigl,"
        " 0.5 for itop and granet",
        None, metavar="SHARE", places=_TRAINED, names={TRAINING: "prune_fraction"},
    )  # fmt: skip
    gradient_updates: Optional[int] = option(
        "number of updates before a change of the mask whose gradients are summed for it; 0 sums"
        " all since the last change; default: that of the pruner, 1 for rigl, itop and granet",
        None, metavar="UPDATES", places=_TRAINED, names={TRAINING: "prune_gradient_updates"},
    )  # fmt: skip
    # Sanh et al. 2020, their code's settings for SQuAD
    threshold: float = option(
        "sigmoid of the score up to which pruner soft-movement prunes a weight from prune-end on",
        0.1, metavar="SHARE", places=_TRAINED, names={TRAINING: "prune_threshold"},
    )  # fmt: skip
    penalty: float = option(
        "weight of the mean sigmoid of the scores in the loss of pruner soft-movement from"
        " prune-end on; more prunes more",
        400.0, metavar="WEIGHT", places=_TRAINED, names={TRAINING: "prune_penalty"},
    )  # fmt: skip
    score_lr: float = option(
        "learning rate of the scores of pruner soft-movement", 0.01, metavar="RATE",
        places=_TRAINED, names={TRAINING: "prune_score_lr"},
    )  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Tickets, snapshots and decoding in fairseq's commands."""

    ticket: Optional[str] = option("ticket to train", None, is_file=True, places=_TRAINED)
    pair_masks: Optional[str] = option(
        "masks of pairs of languages under which a multilingual model is trained; the ticket must"
        " have their union",
        None, is_file=True, places=_TRAINED,
    )  # fmt: skip
    pair_mask: Optional[str] = option(
        "mask under which a multilingual model with masks of pairs translates: a pair, or a"
        " combination such as union:fr-en,en-de; default: that of the translated pair",
        None, metavar="MASK", places=_TRAINED,
    )  # fmt: skip
    snapshot_updates: Optional[str] = option(
        "write snapshots into the save-dir at these updates, such as 0,4000",
        None, metavar="UPDATES", places=_TRAINED,
    )  # fmt: skip
    data_seed: Optional[int] = option(
        "seed of the order of the training examples; two seeds have unrelated orders, none of which"
        " is that of a --seed; default: the order of --seed",
        None, metavar="N", places=_TRAINED,
    )  # fmt: skip
    head_seed: Optional[int] = option(
        "seed of the start values of the task's head, such as a classifier; runs with the same seed"
        " start from the same head; default: the value of --seed",
        None, metavar="N", places=_TRAINED,
    )  # fmt: skip
    no_save_masters: bool = option(
        "do not store the fp32 masters of half-precision runs in checkpoints",
        False, places=_TRAINED,
    )  # fmt: skip
    sparse_decode: bool = option(
        "translate with faster beam search, and on a CPU with sparse matrices; for fairseq-generate"
        " and fairseq-interactive",
        False, places=_TRAINED,
    )  # fmt: skip


@dataclass(frozen=True)
class Gradients:
    """Aggregation of gate gradients to importance."""

    per: str = option("gradient whose magnitude counts", "sentence", axis=axes.PER, places=_HEADS)


@dataclass(frozen=True)
class ScoreRounds:
    """Rounds of scores of pruning at initialisation."""

    score_rounds: Optional[int] = option(
        "number of rounds, with new scores in each; default: 10 for force, 100 for synflow, else 1",
        None, metavar="N", places=_DRAWN,
    )  # fmt: skip


@dataclass(frozen=True)
class ScoreBatches:
    """Sums of gradients for scores of pruning at initialisation."""

    score_batches: int = option(
        "batches of the training set that snip, force, grasp, wanda and sparsegpt read before the"
        " first update, over all processes",
        16, metavar="N", places=_TRAINED,
    )  # fmt: skip


@dataclass(frozen=True)
class Importance:
    """Measure of the importance of heads and FFN units."""

    measure: str = option("measure of importance", "gradient", axis=axes.MEASURE, places=_HEADS)


@dataclass(frozen=True)
class Choice:
    """Selection of the heads and FFN units to prune."""

    strategy: str = option(
        "heads and FFN units to prune", "lowest", axis=axes.STRATEGY, places=_HEADS
    )


#: all groups in the order of help
GROUPS = (
    *(Run, Sources, Ranking, Prunable, Reset, MaskControl, Seed, Schedule, Pruning, ScoreRounds),
    *(ScoreBatches, Importance, Gradients, Choice),
)


def check_scope(scope: str, min_density: float) -> None:
    """Refuse an unknown scope, and a minimum density that is out of range or unused."""
    axes.SCOPE.refuse_unknown(scope)
    if not 0 <= min_density < 1:
        raise LotteryError(f"the minimum density {min_density:g} is outside [0, 1); 0.05 keeps 5 %")
    if min_density and scope != "global":
        raise LotteryError(
            f"the minimum density {min_density:g} requires scope global, not {scope}; leave it out"
        )
