"""fairseq-train's flags as text: read, compared and changed without knowing fairseq."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.python_literals import is_plain_value

#: flags that decide what is logged, saved, validated and where, but no weight
_NO_WEIGHT = re.compile(
    r"--(log-.*|no-progress-bar|tensorboard-logdir|wandb-project|azureml-logging|aim-.*"
    r"|save-.*|keep-(interval|last|best).*|no-(save|epoch-checkpoints|last-checkpoints"
    r"|save-optimizer-state)|write-checkpoints-asynchronously|checkpoint-verbose|profile"
    r"|num-workers|data-buffer-size|dataset-impl|user-dir|suppress-crashes|report-accuracy"
    r"|nccl-timeout|heartbeat-timeout|all-gather-list-size|empty-cache-freq|reset-logging"
    r"|distributed-timeout|load-checkpoint-on-all-dp-ranks|plasma-path|use-plasma-view)"
)
#: flags of validation; they reach the weights only through a schedule that looks at it
_VALIDATION = re.compile(
    r"--(validate-.*|disable-validation|fixed-validation-seed|valid-subset|combine-val.*"
    r"|ignore-unused-valid-subsets|max-valid-steps|max-tokens-valid|batch-size-valid"
    r"|(maximize-)?best-checkpoint-metric|eval-.*|skip-invalid-size-inputs-valid-test)"
)
#: fairseq's second names of flags
_LONG = {
    "-s": "--source-lang",
    "-t": "--target-lang",
    "-a": "--arch",
    "--max-sentences": "--batch-size",
    "--max-sentences-valid": "--batch-size-valid",
    "--nval": "--max-valid-steps",
    "--wd": "--weight-decay",
}
#: flags that decide which checkpoint is the best
_SELECTION = re.compile(r"--((maximize-)?best-checkpoint-metric|valid-subset|eval-.*)")


@dataclass(frozen=True)
class Flags:
    """Flags in their order, each with its values, as given on a command line."""

    items: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Flags:
        """Split a command line.

        Raises:
            LotteryError: a quote that is not closed, a value before the first flag, or a
                flag that is given twice.
        """
        try:
            words, uncommented = shlex.split(text), shlex.split(text, comments=True)
        except ValueError as error:
            raise LotteryError(f"a quote is not closed ({error})") from error
        # a folded text is one line: a comment in it would hide all flags that follow
        if words != uncommented:
            raise LotteryError("# starts no comment among flags; take it out, or quote it")
        found: list[tuple[str, tuple[str, ...]]] = []
        for word in words:
            if re.match(r"--|-[A-Za-z]", word):  # -s en as well, but -1 is a value
                name, equals, value = word.partition("=")
                name = _LONG.get(name, name)
                if name in [other for other, _ in found]:
                    raise LotteryError(f"{name} is given twice; give it once")
                found.append((name, (value,) if equals else ()))
            elif not found:
                raise LotteryError(f"{word!r} belongs to no flag; write --name value")
            else:
                name, values = found[-1]
                found[-1] = (name, (*values, word))
        return cls(tuple(found))

    def __contains__(self, name: str) -> bool:
        return any(name == other for other, _ in self.items)

    @property
    def names(self) -> tuple[str, ...]:
        """The flags' names, in their order."""
        return tuple(name for name, _ in self.items)

    def get(self, name: str, default: Optional[str] = None) -> Optional[str]:
        """The value of a flag; a switch's is the empty string."""
        for other, values in self.items:
            if name == other:
                return " ".join(values)
        return default

    @property
    def valid_subset(self) -> str:
        """The first set of validation, by which fairseq chooses its best checkpoint."""
        return (self.get("--valid-subset") or "valid").split(",")[0]

    def number(self, name: str, default: Optional[float] = None) -> Optional[float]:
        """The value of a flag as a number."""
        text = self.get(name)
        if text is None:
            return default
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise LotteryError(f"{name} {text} is no number")
        return number

    def without(self, names: Iterable[str]) -> Flags:
        """All flags but these."""
        dropped = set(names)
        return Flags(tuple(item for item in self.items if item[0] not in dropped))

    def plus(self, *words: object) -> Flags:
        """With more flags; one that is there already takes its new value."""
        more = Flags.parse(shlex.join(map(str, words)))
        return Flags((*self.without(more.names).items, *more.items))

    def words(self) -> list[str]:
        """As the words of a command line."""
        return [word for name, values in self.items for word in (name, *values)]

    def not_plain(self) -> tuple[str, ...]:
        """Return the flags with a value that fairseq might evaluate as a program.

        Flags of logs, saving and validation take paths and JSON, which nothing evaluates.
        """
        return tuple(
            name
            for name, values in self.items
            if not (_NO_WEIGHT.fullmatch(name) or _VALIDATION.fullmatch(name))
            and not all(map(is_plain_value, values))
        )

    def of_weights(self) -> dict[str, str]:
        """What decides the weights, whatever the order and the spelling of numbers."""
        looks = self.get("--lr-scheduler") == "reduce_lr_on_plateau"
        return {
            name: " ".join(map(_plain, values))
            for name, values in sorted(self.items)
            if not _NO_WEIGHT.fullmatch(name) and (looks or not _VALIDATION.fullmatch(name))
        }

    def of_selection(self) -> dict[str, str]:
        """What decides which checkpoint is called the best."""
        return {n: " ".join(v) for n, v in sorted(self.items) if _SELECTION.fullmatch(n)}


def _plain(value: str) -> str:
    """``7e-4`` and ``0.0007`` are one learning rate."""
    try:
        return repr(float(value))
    except ValueError:
        return re.sub(r"\s+", "", value)
