"""A model built anew: its own initialiser gives the weights of ``--reset random``."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
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

#: settings that are texts and looked up in a table
_NAMES = ("arch", "_name", "activation_fn")
#: a file of embeddings, which would be read only to be replaced
_FILE = r"(en|de)coder_embed_path"


def _stand_in(adapter: TaskAdapter, sizes: Mapping[str, int]) -> SimpleNamespace:
    """Return what stands in for the task while a model is built, which asks for dictionaries only.

    Dictionaries of one size are one object, as a model that shares embeddings requires.
    """
    made = {size: Dictionary() for size in sizes.values()}
    for size, dictionary in made.items():
        for index in range(size - len(dictionary)):
            dictionary.add_symbol(str(index))
    return SimpleNamespace(
        **{
            attribute: made[sizes[name]]
            for name, one in adapter.vocabularies.items()
            for attribute in one.attributes
        }
    )


def untrained(source: Source, task: Any = None) -> torch.nn.Module:
    """Build the model that ``source`` describes, with fresh weights.

    Args:
        task: fairseq's, which builds the model. Without it something stands in for the task that
            has dictionaries of the sizes in ``source``.

    Raises:
        LotteryError: it does not say what it is, has a setting that might be a program, or
            describes a model that is larger than its weights or that cannot be built.
    """
    arguments = arguments_of(source)
    adapter = source.adapter
    refuse_other_sizes(source.weights, vars(arguments), adapter, source.path)
    sizes = {
        name: len(source.weights[one.embedding])
        for name, one in adapter.vocabularies.items()
        if one.embedding in source.weights and source.weights[one.embedding].dim() == 2
    }
    if not sizes:
        raise LotteryError(f"{source.path} has no embedding, so it cannot be built anew")
    first = next(iter(sizes.values()))  # that of dictionaries whose embedding is tied to it
    stand_in = _stand_in(adapter, {name: sizes.get(name, first) for name in adapter.vocabularies})
    try:
        if task is not None:
            return task.build_model(arguments)
        return ARCH_MODEL_REGISTRY[arguments.arch].build_model(arguments, stand_in)
    except Exception as error:  # noqa: BLE001 - settings that fit nobody's model
        raise _unbuildable(source.path, error) from error


def arguments_of(source: Source) -> Namespace:
    """The settings of an architecture, none of which runs anything or reads a file.

    fairseq evaluates some texts, and anybody may have written the file that they come from.
    """
    arch = source.architecture.get("arch") or source.architecture.get("_name")
    _refuse_unregistered(arch, source.path)
    values = {k: v for k, v in source.architecture.items() if not re.fullmatch(_FILE, k)}
    choices = _choices(str(arch))
    for key, value in values.items():
        if not _is_harmless(key, value, choices.get(key, ())):
            raise LotteryError(
                f"the architecture of {source.path} has {key} {str(value)[:50]!r}, which fairseq"
                " might run as a program; it is not built anew"
            )
    refuse_many_layers(values, source.adapter, source.path)
    return completed(Namespace(**{**values, "arch": arch}), source.path)


def _is_harmless(key: str, value: Any, choices: Sequence[str]) -> bool:
    """Return whether a setting is a number, numbers, or a word that the model declares."""
    if isinstance(value, str):
        is_text = is_plain_value if key in _NAMES else is_numbers
        return is_text(value) or value in choices
    return all(
        isinstance(one, (bool, int, float, type(None)))
        for one in (value if isinstance(value, list) else [value])
    )


def _choices(arch: str) -> dict[str, Sequence[str]]:
    """Return setting -> its words, for those that the model's own flags declare with choices."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    return {action.dest: list(action.choices) for action in parser._actions if action.choices}


def _refuse_unregistered(arch: Any, path: object) -> None:
    if not isinstance(arch, str):
        raise LotteryError(f"{path} does not say which architecture it has ({arch!r})")
    if arch not in ARCH_MODEL_REGISTRY:
        raise LotteryError(
            f"{path} has the architecture {arch[:50]!r}, which fairseq itself does not have;"
            " give the folder that registers it with --user-dir"
        )


def completed(arguments: Namespace, path: object) -> Namespace:
    """Return settings with those that their architecture adds, as fairseq adds them."""
    arch = vars(arguments).get("arch") or vars(arguments).get("_name")
    _refuse_unregistered(arch, path)
    arguments = Namespace(**{**vars(arguments), "arch": arch})
    try:
        ARCH_CONFIG_REGISTRY[arch](arguments)
    except Exception as error:  # noqa: BLE001 - settings that fit nobody's model
        raise _unbuildable(path, error) from error
    return arguments


def _unbuildable(path: object, error: Exception) -> LotteryError:
    reason = str(error)[:200] or type(error).__name__
    return LotteryError(f"{path} cannot be built anew as its architecture says it is: {reason}")


def initial_weights(source: Source, seed: int) -> dict[str, Tensor]:
    """The weights of ``untrained`` under ``seed``; name -> fresh weight.

    torch's global generator on the CPU keeps its state; fairseq seeds all devices each update.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = untrained(source)
    return {name: parameter.detach() for name, parameter in trainable(model).items()}
