"""Find pruners by name, and convert them to and from stored fields."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.pruners.gradual import Gradual
from fairseq_lottery.masks.pruners.gradual_regrow import GradualRegrow
from fairseq_lottery.masks.pruners.granet import GraNet
from fairseq_lottery.masks.pruners.movement import Movement
from fairseq_lottery.masks.pruners.pruner import OPTIONS, Pruner
from fairseq_lottery.masks.pruners.rigl import InTimeRigL, RigL
from fairseq_lottery.masks.pruners.soft_movement import SoftMovement
from fairseq_lottery.masks.pruners.sparse_evolutionary import SparseEvolutionary
from fairseq_lottery.options.axes import PRUNER
from fairseq_lottery.options.own_code import digest_source, load_own

PRUNERS: dict[str, type[Pruner]] = PRUNER.registry(
    {
        "gradual": Gradual,
        "gradual-regrow": GradualRegrow,
        "movement": Movement,
        "soft-movement": SoftMovement,
        "set": SparseEvolutionary,
        "rigl": RigL,
        "itop": InTimeRigL,
        "granet": GraNet,
    }
)

#: pruner of checkpoints that do not name one
DEFAULT_PRUNER = "gradual"

#: stored key of the pruner's name, besides those of its fields
_NAME = "pruner"
_REQUIRED = ("final", "start", "end", "every")


@dataclass(frozen=True)
class _Unknown(Pruner):
    """A user's pruner in an untrusted file, whose class is not imported."""

    final: float
    start: int
    end: int
    every: int

    only_shrinks = False

    def sparsity_at(self, update: int) -> None:
        return None


def find_pruner(name: str) -> tuple[type[Pruner], Optional[str]]:
    """Return the pruner called ``name``, and the SHA-256 of its source if it is a user's own.

    Raises:
        LotteryError: the pruner is unknown, cannot be imported, or does not follow ``Pruner``.
    """
    PRUNER.refuse_unknown(name)
    if name in PRUNERS:
        return PRUNERS[name], None
    pruner = load_own(PRUNER.title, name)
    _refuse_malformed(pruner, name)
    return pruner, digest_source(PRUNER.title, name, pruner)


def _refuse_malformed(pruner: Any, name: str) -> None:
    if not (inspect.isclass(pruner) and issubclass(pruner, Pruner) and is_dataclass(pruner)):
        raise LotteryError(
            f"pruner {name} is not a dataclass that extends Pruner of fairseq_lottery.masks"
        )
    names = {field.name for field in fields(pruner)}
    for required in _REQUIRED:
        if required not in names:
            raise LotteryError(f"pruner {name} has no field {required!r}; add it")
    for field in fields(pruner):
        if not field.init:
            raise LotteryError(
                f"field {field.name} of pruner {name} is not an argument of its constructor, which"
                " resumed runs require; leave out init=False"
            )
    for need in pruner.needs:
        if need not in ("start", "gradient", "dense_gradient"):
            raise LotteryError(
                f"pruner {name} needs {need!r}; choose from start, gradient, dense_gradient"
            )

    if pruner.learned and not pruner.keeps_values:
        raise LotteryError(
            f"pruner {name} learns scores, for which weights need their values; set its"
            " keeps_values to True"
        )


def store_pruner(name: str, pruner: Pruner) -> dict[str, Any]:
    """Return the fields of ``pruner`` as checkpoints store them.

    Raises:
        LotteryError: a field is not a finite number or a string, or not of its declared type.
    """
    stored = asdict(pruner)  # type: ignore[call-overload]
    for field in fields(pruner):  # type: ignore[arg-type]
        value = stored[field.name]
        is_finite = type(value) is not float or math.isfinite(value)
        if not is_finite or not _is_valid(field.name, value, str(field.type)):
            raise LotteryError(
                f"field {field.name} of pruner {name} is {str(value)[:50]}, declared as"
                f" {getattr(field.type, '__name__', field.type)}; checkpoints store finite numbers"
                " and strings"
            )
    return stored if name == DEFAULT_PRUNER else {_NAME: name, **stored}


def only_shrinks(name: str) -> bool:
    """Return whether a pruner is known to only shrink masks; False for users' pruners."""
    return name in PRUNERS and PRUNERS[name].only_shrinks


def stored_name(stored: Mapping[str, Any]) -> str:
    """Return the name of the pruner that a checkpoint stores."""
    return stored.get(_NAME, DEFAULT_PRUNER)


def read_pruner(stored: Any, own: Optional[type[Pruner]] = None) -> Pruner:
    """Return the pruner that a checkpoint stores.

    Args:
        stored: result of ``store_pruner``, or any value of an untrusted file.
        own: class of the user's pruner, if the user has named it; otherwise only the required
            fields are read.

    Raises:
        LotteryError: the stored fields are malformed.
    """
    if not isinstance(stored, Mapping) or not all(isinstance(key, str) for key in stored):
        raise LotteryError("its pruning is not a pruning schedule")
    values = {key: value for key, value in stored.items() if key != _NAME}
    name = stored_name(stored)
    if name == DEFAULT_PRUNER and _NAME in stored or not isinstance(name, str):
        raise LotteryError(f"its pruning schedule names the pruner {str(name)[:50]!r}")
    if name in PRUNERS:
        pruner = PRUNERS[name]
    elif ":" in name:
        pruner = own or _Unknown
        values = values if own else {field: values.get(field) for field in _REQUIRED}
    else:
        raise LotteryError(f"its pruning schedule names the unknown pruner {name[:50]!r}")
    if set(values) != {field.name for field in fields(pruner)}:  # type: ignore[arg-type]
        raise LotteryError(f"its pruning is not a schedule of the pruner {name}")
    for field in fields(pruner):  # type: ignore[arg-type]
        if not _is_valid(field.name, values[field.name], str(field.type)):
            raise LotteryError(f"the {field.name} of its pruning is malformed")
    try:
        return pruner(**values)
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a user's pruner may raise any error
        raise LotteryError(f"pruner {name} cannot be built: {error}") from error


def _is_valid(name: str, value: Any, kind: str) -> bool:
    """Return whether a stored value has the type of its field; options are shares or counts."""
    if kind in ("float", "<class 'float'>"):
        is_share = name == "initial" or (name in OPTIONS and OPTIONS[name].metavar == "SHARE")
        return type(value) in (int, float) and (not is_share or 0 <= value <= 1)
    if kind in ("int", "<class 'int'>"):
        return type(value) is int and abs(value) < 2**63
    return type(value) in (str, bool, int, float)
