"""The settings that a checkpoint stores, before fairseq builds a model or a task from them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from fairseq.dataclass.configs import FairseqConfig
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY

from fairseq_lottery.adapters import ADAPTERS
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.python_literals import is_plain_value
from fairseq_lottery.inference.lottery_config import LotteryConfig


def refuse_programs(state: Mapping[str, Any], path: object) -> None:
    """Refuse a checkpoint with a setting that fairseq might evaluate as a program."""
    cfg = state.get("cfg") or {}
    free = _free_texts()
    for section in (state.get("args"), cfg.get("model"), cfg.get("task")):
        for name, text in _texts(section):
            if name not in free and not is_plain_value(text):
                raise LotteryError(
                    f"{path} has the setting {name} {text[:50]!r}, which fairseq might run as a"
                    " program; use a checkpoint whose settings are words, numbers and literals"
                )


def _texts(settings: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(settings, Namespace):
        settings = vars(settings)
    if isinstance(settings, str):
        yield name, settings
    elif isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _texts(value, str(key))
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _texts(value, name)


def _free_texts() -> set[str]:
    """Return the settings that are declared as texts: paths, patterns and names.

    fairseq evaluates none of them. The command line of a training stands in the model's section
    as a whole, so that these are among them, with those of tokenizers and subwords.
    """
    sections: list[Any] = [part for part in vars(FairseqConfig()).values() if is_dataclass(part)]
    sections += [
        TASK_DATACLASS_REGISTRY[task] for task in ADAPTERS if task in TASK_DATACLASS_REGISTRY
    ]
    for name in ("tokenizer", "bpe"):
        sections += [one for one in REGISTRIES[name]["dataclass_registry"].values() if one]
    return {
        field.name
        for section in (*sections, LotteryConfig)
        for field in fields(section)
        if "str" in str(field.type)
    }
