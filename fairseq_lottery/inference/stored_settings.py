"""Checks of a checkpoint's settings before fairseq builds a model or a task from them."""

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
    harmless = _harmless_texts()
    for section in (state.get("args"), cfg.get("model"), cfg.get("task")):
        for name, text in _texts(section):
            if name not in harmless and not is_plain_value(text):
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


def _harmless_texts() -> set[str]:
    """Return the names of settings that are declared as texts only: paths, patterns and names.

    fairseq never evaluates them. It may evaluate a setting that is a text in one section and has
    another type in another one, such as ``left_pad_source``. The model's section holds the complete
    command line of a training, so all sections are included, and those of tokenizers and subwords.
    """
    sections: list[Any] = [cfg for cfg in vars(FairseqConfig()).values() if is_dataclass(cfg)]
    tasks = [task for name in ADAPTERS for task in (name, f"{name}_lottery")]
    sections += [TASK_DATACLASS_REGISTRY[task] for task in tasks if task in TASK_DATACLASS_REGISTRY]
    for name in ("tokenizer", "bpe"):
        sections += [cfg for cfg in REGISTRIES[name]["dataclass_registry"].values() if cfg]
    declared = [field for section in (*sections, LotteryConfig) for field in fields(section)]
    texts = {field.name for field in declared if "str" in str(field.type)}
    return texts - {field.name for field in declared if "str" not in str(field.type)}
