"""The flags that tickets and pruning add to a task, out of ``fairseq_lottery.options``."""

# fairseq evaluates the annotations of its dataclasses, so they are not postponed here
from dataclasses import MISSING, dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from omegaconf import II

from fairseq_lottery.options import GROUPS, TRAINING, Option, options


def _field(one: Option) -> Any:
    default = one.default_in(TRAINING)
    assert default is not MISSING, f"fairseq needs a default of {one.name}"
    return field(default=default, metadata={"help": one.text})


def _with_options(config: type) -> type:
    """Make a dataclass whose fields are all options of a training."""
    config.__annotations__ = {}
    for one in options(*GROUPS, place=TRAINING):
        name, optional = one.name_in(TRAINING), one.default_in(TRAINING) is None
        config.__annotations__[name] = Optional[one.kind] if optional else one.kind
        setattr(config, name, _field(one))
        if one.stored:
            # fairseq 0.12.2 refuses settings of a checkpoint that have no field here; it makes no
            # flag of a field without help that refers to another, which it does inside fairseq's
            # whole configuration only
            config.__annotations__[one.stored] = config.__annotations__[name]
            setattr(config, one.stored, II(f"task.{name}"))
    return dataclass(config)


@_with_options
class LotteryConfig(FairseqDataclass):
    """What is drawn, what is pruned, what is written. See docs/options.md."""
