"""Configuration of a task with the flags of tickets and pruning."""

# fairseq evaluates the annotations of its dataclasses, so they are not postponed here
from dataclasses import MISSING, dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from omegaconf import II

from fairseq_lottery.options import GROUPS, TRAINING, Option, options


def _field(option: Option) -> Any:
    default = option.default_in(TRAINING)
    assert default is not MISSING, f"fairseq requires a default of {option.name}"
    return field(default=default, metadata={"help": option.text})


def _with_options(config: type) -> type:
    """Return ``config`` as a dataclass whose fields are all options of a training."""
    config.__annotations__ = {}
    for option in options(*GROUPS, place=TRAINING):
        name, is_optional = option.name_in(TRAINING), option.default_in(TRAINING) is None
        config.__annotations__[name] = Optional[option.kind] if is_optional else option.kind
        setattr(config, name, _field(option))
        if option.stored:
            # fairseq 0.12.2 rejects a checkpoint's settings without a field here; it adds no flag
            # for a field without help that refers to another one. The reference resolves only
            # inside fairseq's complete configuration.
            config.__annotations__[option.stored] = config.__annotations__[name]
            setattr(config, option.stored, II(f"task.{name}"))
    return dataclass(config)


@_with_options
class LotteryConfig(FairseqDataclass):
    """Options of drawing tickets, pruning and writing files. See docs/options.md."""
