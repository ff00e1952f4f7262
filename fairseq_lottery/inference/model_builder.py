"""Build untrained models from files; ``--reset random`` uses their initial weights."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from torch import Tensor

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.python_literals import is_numbers, is_plain_value
from fairseq_lottery.formats import Source, trainable
from fairseq_lottery.inference.size_check import refuse_many_layers, refuse_other_sizes

#: settings whose value is a name that fairseq looks up and never evaluates
_NAMES = ("arch", "_name", "activation_fn")
#: settings with a file of embeddings, which is not read because the weights replace it
_FILE = r"(en|de)coder_embed_path"


def _stand_in(adapter: TaskAdapter, sizes: Mapping[str, int]) -> SimpleNamespace:
    """Return a stand-in for the task with its dictionaries; building a model reads only these.

    Dictionaries of equal size are the same object, because models with shared embeddings require
    this.
    """
    dictionaries = {size: Dictionary() for size in sizes.values()}
    for size, dictionary in dictionaries.items():
        for index in range(size - len(dictionary)):
            dictionary.add_symbol(str(index))
    return SimpleNamespace(
        **{
            attribute: dictionaries[sizes[name]]
            for name, vocabulary in adapter.vocabularies.items()
            for attribute in vocabulary.attributes
        }
    )


def build_untrained(source: Source, task: Any = None) -> torch.nn.Module:
    """Build the model that ``source`` describes, with fresh weights.

    Args:
        task: fairseq task that builds the model. Without it a stand-in has dictionaries of the
            sizes in ``source``.

    Raises:
        LotteryError: the architecture is missing or unknown, has a setting that might run code, is
            larger than its weights, or cannot be built.
    """
    arguments = arguments_of(source)
    adapter = source.adapter
    refuse_other_sizes(source.weights, vars(arguments), adapter, source.path)
    sizes = {
        name: len(source.weights[v.embedding])
        for name, v in adapter.vocabularies.items()
        if v.embedding in source.weights and source.weights[v.embedding].dim() == 2
    }
    if not sizes:
        raise LotteryError(f"{source.path} has no embedding, so its model cannot be built")
    first = next(iter(sizes.values()))  # a tied embedding is stored once
    stand_in = _stand_in(adapter, {name: sizes.get(name, first) for name in adapter.vocabularies})
    try:
        if task is not None:
            return task.build_model(arguments)
        return ARCH_MODEL_REGISTRY[arguments.arch].build_model(arguments, stand_in)
    except Exception as error:  # noqa: BLE001 - a model's code raises any error
        raise _unbuildable(source.path, error) from error


def arguments_of(source: Source) -> Namespace:
    """Return the settings of an architecture; refuse those that could run code or read files.

    fairseq evaluates some texts, and the file may come from an untrusted source.

    Raises:
        LotteryError: a setting might run code, or the architecture is unknown.
    """
    arch = source.architecture.get("arch") or source.architecture.get("_name")
    _refuse_unregistered(arch, source.path)
    values = {k: v for k, v in source.architecture.items() if not re.fullmatch(_FILE, k)}
    declared = _declared(str(arch))
    for key, value in values.items():
        if not _is_harmless(key, value, declared.get(key, ())):
            raise LotteryError(
                f"the architecture of {source.path} has {key} {str(value)[:50]!r}, which fairseq"
                " might run as a program; use a file whose settings are words and numbers"
            )
    refuse_many_layers(values, source.adapter, source.path)
    return complete_arguments(Namespace(**{**values, "arch": arch}), source.path)


def _is_harmless(key: str, value: Any, declared: Sequence[str]) -> bool:
    """Return whether a setting is a number, a list of numbers, or a declared word."""
    if isinstance(value, str):
        is_text = is_plain_value if key in _NAMES else is_numbers
        return is_text(value) or value in declared
    return all(
        isinstance(item, (bool, int, float, type(None)))
        for item in (value if isinstance(value, list) else [value])
    )


def _declared(arch: str) -> dict[str, list[Any]]:
    """Return setting -> values that the model's own code declares: choices and the default."""
    parser, model = ArgumentParser(add_help=False, allow_abbrev=False), ARCH_MODEL_REGISTRY[arch]
    model.add_args(parser)
    declared = {action.dest: list(action.choices or ()) for action in parser._actions}
    config = getattr(model, "__dataclass", None)
    for setting in fields(config) if config else ():
        declared.setdefault(setting.name, []).append(setting.default)
    return declared


def _refuse_unregistered(arch: Any, path: object) -> None:
    if not isinstance(arch, str):
        raise LotteryError(f"{path} has the architecture {arch!r}, expected a name")
    if arch not in ARCH_MODEL_REGISTRY:
        raise LotteryError(
            f"{path} has the architecture {arch[:50]!r}, which fairseq does not have; give"
            " the folder that registers it with --user-dir"
        )


def complete_arguments(arguments: Namespace, path: object) -> Namespace:
    """Return settings with the defaults of their architecture, as fairseq adds them."""
    arch = vars(arguments).get("arch") or vars(arguments).get("_name")
    _refuse_unregistered(arch, path)
    arguments = Namespace(**{**vars(arguments), "arch": arch})
    try:
        ARCH_CONFIG_REGISTRY[arch](arguments)
    except Exception as error:  # noqa: BLE001 - a model's code raises any error
        raise _unbuildable(path, error) from error
    return arguments


def _unbuildable(path: object, error: Exception) -> LotteryError:
    reason = str(error)[:200] or type(error).__name__
    return LotteryError(f"the model of {path} cannot be built from its architecture: {reason}")


def initial_weights(source: Source, seed: int) -> dict[str, Tensor]:
    """Return the weights of an untrained model of ``source`` under ``seed``, by name.

    The state of torch's CPU generator is preserved; fairseq seeds all devices at each update.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_untrained(source)
    return {name: parameter.detach() for name, parameter in trainable(model).items()}
