"""Axes: the names that an option accepts, each with one line of help.

A registry elsewhere maps the same names to their implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable, TypeVar

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.nm_pattern import Pattern

T = TypeVar("T")


def _is_code(name: str) -> bool:
    """Return whether ``name`` is code of the user, such as ``package.module:function``."""
    return ":" in name


@dataclass(frozen=True)
class Axis:
    """Values of one option.

    Attributes:
        title: name of the axis in error messages.
        names: name -> one line of help.
        stored: name -> its name in files and fingerprints, if it differs.
        others: description of further values; empty if there are none.
        is_other: whether a string is a further value.
    """

    title: str
    names: Mapping[str, str]
    stored: Mapping[str, str] = field(default_factory=dict)
    others: str = ""
    is_other: Callable[[str], bool] = lambda name: False

    @property
    def takes_code(self) -> bool:
        """Return whether a value may be code of the user, which is then imported."""
        return self.is_other is _is_code

    @property
    def choices(self) -> str:
        """Return all names and further values for a message."""
        return ", ".join(self.names) + (f", or {self.others}" if self.others else "")

    @property
    def lines(self) -> str:
        """Return all names with their help, and further values, for a paragraph."""
        lines = [f"{name}: {text}" for name, text in self.names.items()]
        return "; ".join([*lines, *([f"or {self.others}"] if self.others else [])])

    def stored_name(self, value: str) -> str:
        """Return the name of ``value`` in files and fingerprints."""
        return self.stored.get(value, value)

    def refuse_unknown(self, value: object) -> None:
        """Refuse a value that is not valid, with a list of the names."""
        is_text = isinstance(value, str)
        if not is_text or not (value in self.names or self.is_other(str(value))):
            raise LotteryError(f"there is no {self.title} {value!r}; choose one of {self.choices}")

    def registry(self, functions: Mapping[str, T]) -> dict[str, T]:
        """Return name -> implementation in the order of the axis.

        Raises:
            ImportError: a name is missing in ``functions`` or in the axis.
        """
        for name in self.names.keys() ^ functions.keys():
            place = "registry" if name in self.names else "axis"
            raise ImportError(f"the {self.title} {name} is missing in its {place}; add it there")
        return {name: functions[name] for name in self.names}


SCORE = Axis(
    "score",
    {
        "magnitude": "abs(w)",
        "magnitude-increase": "abs(w) - abs(w at the start of training or in start-from)",
        "distance": "abs(w - w at the start of training or in start-from)",
        "random": "random numbers",
        "snip": "abs(w * gradient)",
        "force": "abs(w * gradient of the pruned model), in rounds in which weights can regrow",
        "grasp": "w * Hessian * gradient",
        "synflow": "the flow through w, in rounds, without data",
        "wanda": "abs(w) * norm of its input",
        "sparsegpt": "w * w / diagonal of the inverse Hessian of its layer's inputs",
    },
    stored={"distance": "movement"},
    others="your own as package.module:function",
    is_other=_is_code,
)
#: scores that are computed from the model itself, before the first update
INITIAL_SCORES = ("snip", "force", "grasp", "synflow", "wanda", "sparsegpt")
SCOPE = Axis(
    "scope",
    {
        "layer": "prune every matrix to the same sparsity",
        "global": "rank the weights of all matrices together",
        "row": "prune every row of every matrix to the same sparsity: the inputs of each output",
        "uniform": "prune every matrix to the same sparsity, but keep embeddings dense",
        "erk": "prune large matrices more, by the Erdős-Rényi kernel",
    },
    others="N:M with N below M, as 2:4, to keep N of every M weights in a row",
    is_other=lambda name: Pattern.parse(name) is not None,
)
PRUNABLE = Axis(
    "prunable set",
    {
        "all-matrices": "all weight matrices",
        "no-embeddings": "all but embeddings and the output projection",
        "attention": "the projections of attention",
        "ffn": "the matrices of feed-forward layers",
        "layers": "those of attention and of feed-forward layers; RoBERTa base has 72",
    },
)
RESET = Axis(
    "reset",
    {
        "rewind": "their values in start-from",
        "sign": "their sign in start-from times alpha of the matrix",
        "keep": "their trained values",
        "random": "new values of the model's own initialiser",
        "random-sign": "a random sign times alpha of the matrix",
        "shuffle": "their values in start-from, permuted within each matrix",
        "shuffle-layers": "the values of another layer in start-from",
        "noise": "their values in start-from plus normal noise, see noise-scale",
    },
)
ALPHA = Axis(
    "alpha",
    {
        "glorot": "the limit of Glorot's uniform initialiser",
        "std": "the standard deviation at update 0",
        "mean": "the mean magnitude of the survivors in start-from",
    },
)
UPDATE_COUNTER = Axis(
    "update counter",
    {
        "restart": "count from update 0",
        "rewind": "continue from the update of start-from",
    },
)
MOMENTS = Axis(
    "moments",
    {
        "fresh": "start at zero",
        "keep": "take the state of the checkpoint of the start values",
    },
)
SCHEDULE = Axis(
    "schedule",
    {
        "cubic": "large steps first, small steps at the end",
        "linear": "equal steps",
        "one-shot": "one step at the start",
    },
)
PRUNER = Axis(
    "pruner",
    {
        "gradual": "increase the sparsity by the schedule",
        "gradual-regrow": "as gradual, but pruned weights keep their values, are ranked with the"
        " others at each step, and may regrow with these values",
        "movement": "as gradual-regrow, but prune the weights whose updates moved them towards zero"
        " most, whatever their magnitudes",
        "soft-movement": "prune the weights whose learned scores fall below a threshold; the target"
        " sparsity is only an upper bound",
        "set": "prune the smallest weights and regrow as many at random, at constant sparsity",
        "rigl": "as set, but regrow where the gradient is largest",
        "itop": "as rigl, with half of the survivors exchanged at first",
        "granet": "increase the sparsity by a cubic schedule, and exchange as rigl at each step",
    },
    others="your own as package.module:Class",
    is_other=_is_code,
)
#: pruners that keep the pattern of a scope N:M
PATTERN_PRUNERS = ("set", "rigl", "itop")
MEASURE = Axis(
    "measure",
    {
        "gradient": "mean of abs(dL/dgate)",
        "confidence": "mean of the largest attention weight (heads only)",
        "gates": "probability that a learned gate is open",
        "l1": "sum of the magnitudes of all weights",
        "l2": "Euclidean norm of all weights",
        "adaprune": "l1 without the output projection of a head",
    },
    others="your own as package.module:function",
    is_other=_is_code,
)
PER = Axis(
    "importance per",
    {
        "token": "of the gradient at every position",
        "sentence": "of its sum over a sentence",
        "batch": "of its sum over a batch",
    },
)
STRATEGY = Axis(
    "strategy",
    {
        "lowest": "the lowest scores",
        "highest": "the highest scores",
        "random": "random components of the whole model",
        "random-per-type": "random components, the same share of each type",
        "top": "layer by layer, from the top",
        "bottom": "layer by layer, from the bottom",
        "middle": "layer by layer, from the middle outwards",
        "spare-middle": "layer by layer, from the ends inwards",
        "alternate": "every second layer",
        "apart": "random components, never in two consecutive layers",
        "types": "type after type",
        "role": "heads with a role, or without it, by fairseq-lottery roles",
        "one-left": "all components of each module but one",
        "all-but-one": "all components of the whole model but one",
    },
)
#: strategies that require scores
RANKING = ("lowest", "highest")
#: strategies that need nothing but the model, a share, and scores for those that rank
SHARED = tuple(n for n in STRATEGY.names if n not in ("role", "one-left", "all-but-one"))
