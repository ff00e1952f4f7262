"""Flags of fairseq-train as text, parsed and compared without importing fairseq."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.python_literals import is_plain_value

#: flags of logging, saving and resources, which do not change any weight
_NO_WEIGHT = re.compile(
    r"--(log-.*|no-progress-bar|tensorboard-logdir|wandb-project|azureml-logging|aim-.*"
    r"|save-.*|keep-(interval|last|best).*|no-(save|epoch-checkpoints|last-checkpoints"
    r"|save-optimizer-state)|write-checkpoints-asynchronously|checkpoint-verbose|profile"
    r"|num-workers|data-buffer-size|dataset-impl|user-dir|suppress-crashes|report-accuracy"
    r"|nccl-timeout|heartbeat-timeout|all-gather-list-size|empty-cache-freq|reset-logging"
    r"|distributed-timeout|load-checkpoint-on-all-dp-ranks|plasma-path|use-plasma-view)"
)
#: flags of validation, which change weights only if the learning rate depends on it
_VALIDATION = re.compile(
    r"--(validate-.*|disable-validation|fixed-validation-seed|valid-subset|combine-val.*"
    r"|ignore-unused-valid-subsets|max-valid-steps|max-tokens-valid|batch-size-valid"
    r"|(maximize-)?best-checkpoint-metric|eval-.*|skip-invalid-size-inputs-valid-test)"
)
#: short or alternative names of flags -> their long names
_LONG = {
    "-s": "--source-lang",
    "-t": "--target-lang",
    "-a": "--arch",
    "--max-sentences": "--batch-size",
    "--max-sentences-valid": "--batch-size-valid",
    "--nval": "--max-valid-steps",
    "--wd": "--weight-decay",
}
#: flags that decide which checkpoint fairseq selects as the best
_SELECTION = re.compile(r"--((maximize-)?best-checkpoint-metric|valid-subset|eval-.*)")


@dataclass(frozen=True)
class Flags:
    """Flags with their values, in the order of a command line."""

    items: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Flags:
        """Parse a command line.

        Raises:
            LotteryError: a quote is not closed, a value precedes the first flag, or a flag is
                given twice.
        """
        try:
            words, uncommented = shlex.split(text), shlex.split(text, comments=True)
        except ValueError as error:
            raise LotteryError(f"a quote is not closed ({error})") from error
        # YAML folds the text into one line, where a comment would hide all following flags
        if words != uncommented:
            raise LotteryError("'#' does not start a comment among flags; remove or quote it")
        items: list[tuple[str, tuple[str, ...]]] = []
        for word in words:
            if re.match(r"--|-[A-Za-z]", word):  # -s en as well, but -1 is a value
                name, equals, value = word.partition("=")
                name = _LONG.get(name, name)
                if name in dict(items):
                    raise LotteryError(f"{name} is given twice; give it once")
                items.append((name, (value,) if equals else ()))
            elif not items:
                raise LotteryError(f"{word!r} does not follow a flag; write --name value")
            else:
                name, values = items[-1]
                items[-1] = (name, (*values, word))
        return cls(tuple(items))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the flags, in order."""
        return tuple(name for name, _ in self.items)

    def get(self, name: str, default: Optional[str] = None) -> Optional[str]:
        """Return the value of a flag; an empty string for a switch."""
        for flag, values in self.items:
            if name == flag:
                return " ".join(values)
        return default

    @property
    def valid_subset(self) -> str:
        """First validation subset, on which fairseq selects its best checkpoint."""
        return (self.get("--valid-subset") or "valid").split(",")[0]

    @property
    def pairs(self) -> tuple[str, ...]:
        """Pairs of languages of a multilingual training; empty for other trainings."""
        return tuple(filter(None, (self.get("--lang-pairs") or "").split(",")))

    def number(self, name: str, default: Optional[float] = None) -> Optional[float]:
        """Return the value of a flag as a number."""
        text = self.get(name)
        if text is None:
            return default
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise LotteryError(f"{name} {text} is not a finite number")
        return number

    def without(self, names: Iterable[str]) -> Flags:
        """Return all flags except ``names``."""
        excluded = set(names)
        return Flags(tuple(item for item in self.items if item[0] not in excluded))

    def plus(self, *words: object) -> Flags:
        """Return the flags with more flags, which replace flags of the same names."""
        added = Flags.parse(shlex.join(map(str, words)))
        return Flags((*self.without(added.names).items, *added.items))

    def words(self) -> list[str]:
        """Return the words of the command line."""
        return [word for name, values in self.items for word in (name, *values)]

    def evaluable_names(self) -> tuple[str, ...]:
        """Return the flags with a value that fairseq might evaluate as Python.

        fairseq does not evaluate paths and JSON, the values of logging, saving and validation.
        """
        return tuple(
            name
            for name, values in self.items
            if not (_NO_WEIGHT.fullmatch(name) or _VALIDATION.fullmatch(name))
            and not all(map(is_plain_value, values))
        )

    def of_weights(self) -> dict[str, str]:
        """Return the flags that decide the weights, with normalised order and numbers."""
        uses_validation = self.get("--lr-scheduler") == "reduce_lr_on_plateau"
        return {
            name: " ".join(map(_normalise, values))
            for name, values in sorted(self.items)
            if not _NO_WEIGHT.fullmatch(name)
            and (uses_validation or not _VALIDATION.fullmatch(name))
        }

    def of_selection(self) -> dict[str, str]:
        """Return the flags that decide which checkpoint is the best."""
        return {n: " ".join(v) for n, v in sorted(self.items) if _SELECTION.fullmatch(n)}


def _normalise(value: str) -> str:
    """Return equal numbers in one form, such as ``0.0007`` for ``7e-4``."""
    try:
        return repr(float(value))
    except ValueError:
        return re.sub(r"\s+", "", value)
