"""Load a checkpoint without running its code: torch's safe loader with an allow-list of classes."""

from __future__ import annotations

import argparse
import codecs
import collections
import importlib
import pickle
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union
from unittest.mock import patch

import numpy as np
import torch

from fairseq_lottery.files.pickles import NotAllowedError, names_in


def _classes(module: str, names: str) -> list[Any]:
    try:
        loaded = importlib.import_module(module)
    except ImportError:
        return []
    return [getattr(loaded, name) for name in names.split() if hasattr(loaded, name)]


def safe_classes() -> list[Any]:
    """Return the classes of plain data that fairseq stores in its checkpoints.

    They extend torch's own list: the command line as a Namespace, numpy's numbers and arrays in
    the metrics, and omegaconf's nodes in messages between processes.
    """
    multiarray = _classes("numpy._core.multiarray", "_reconstruct scalar")
    numbers = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    nodes = "AnyNode BooleanNode EnumNode FloatNode IntegerNode StringNode"
    return [
        *(argparse.Namespace, collections.OrderedDict, collections.defaultdict),
        *(multiarray or _classes("numpy.core.multiarray", "_reconstruct scalar")),
        *(np.ndarray, np.dtype, *sorted(numbers, key=lambda kind: kind.__name__)),
        *_classes("omegaconf.dictconfig", "DictConfig"),
        *_classes("omegaconf.listconfig", "ListConfig"),
        *_classes("omegaconf.base", "ContainerMetadata Metadata"),
        *_classes("omegaconf.nodes", nodes),
        *(Any, dict, list, tuple, set, int, float, bool, str),
    ]


def allow_fairseq_checkpoints() -> None:
    """Let torch's safe loader read fairseq's checkpoints inside fairseq's own code.

    fairseq calls ``torch.load`` without ``weights_only``, which is True by default in torch >= 2.6.
    Removable when fairseq registers these classes itself.
    """
    if hasattr(torch.serialization, "add_safe_globals"):
        # placeholder for a tensor in the state that the first process broadcasts on resuming
        placeholder = _classes("fairseq.distributed.utils", "_TensorPlaceholder")
        torch.serialization.add_safe_globals(safe_classes() + placeholder)


def refuse_code(path: Union[str, Path]) -> None:
    """Refuse a checkpoint whose pickle names more than plain data, without loading it.

    ``safe_load`` calls this first, because torch before 2.6 runs the code that a file names.

    Raises:
        NotAllowedError: the pickle names more than plain data.
        ValueError, OSError, ...: the file is not a checkpoint, or is corrupted.
    """
    # includes classes that the user has allowed torch to load
    safe_globals: list[Any] = getattr(torch.serialization, "get_safe_globals", list)()
    classes = [item for item in safe_globals if not isinstance(item, tuple)]
    named = {(kind.__module__, kind.__qualname__) for kind in classes}
    allowed = _allowed()
    for module, name in sorted(names_in(path) - named):
        _find(module, name, allowed)


def safe_load(path: Union[str, Path]) -> dict[str, Any]:
    """Load a fairseq checkpoint to the CPU without running its code; raise what torch raises."""
    refuse_code(path)
    if hasattr(torch.serialization, "safe_globals"):
        # on exit the context removes its classes, even those that the plugin had registered
        registered = torch.serialization.get_safe_globals()
        with torch.serialization.safe_globals([c for c in safe_classes() if c not in registered]):
            # torch memory-maps zip archives only if the path is printable text
            is_printable = str(path).isprintable()
            with open(path, "rb") as file:
                is_mapped = is_printable and file.read(2) == b"PK"
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    restricted = _restricted_pickle()
    # torch 1.13 ignores pickle_module, and takes the module that it has imported as pickle
    with patch.object(torch.serialization, "pickle", restricted):
        return torch.load(path, map_location="cpu", pickle_module=restricted)


def _old_name(module: str) -> str:
    """Return the older name of a module that numpy 2 or Python 3 has renamed."""
    return module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")


def _allowed() -> dict[tuple[str, str], Any]:
    """Return (module, name) -> object that a checkpoint may name, except storages and dtypes."""
    allowed = {(_old_name(c.__module__), c.__qualname__): c for c in safe_classes() if c is not Any}
    allowed["typing", "Any"] = Any
    allowed["builtins", "long"], allowed["builtins", "unicode"] = int, str  # in protocol 2
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        allowed["torch._utils", name] = getattr(torch._utils, name)
    allowed["torch", "Size"] = torch.Size
    allowed["_codecs", "encode"] = codecs.encode  # how protocol 2 writes the bytes of a number
    return allowed


def _find(module: str, name: str, allowed: Mapping[tuple[str, str], Any]) -> Any:
    """Return the object that a checkpoint names, from ``allowed`` or a storage type or dtype."""
    if (_old_name(module), name) in allowed:
        return allowed[_old_name(module), name]
    namespace = torch.storage if module == "torch.storage" else torch
    value = getattr(namespace, name, None) if "." not in name else None
    if module == "torch.storage":
        is_type = name in ("UntypedStorage", "TypedStorage")
    else:
        is_dtype = module == "torch" and isinstance(value, torch.dtype)
        is_type = is_dtype or (name.endswith("Storage") and module in ("torch", "torch.cuda"))
    if value is None or not is_type:
        raise NotAllowedError(f"{module}.{name} is not allowed in a checkpoint")
    return value


def _restricted_pickle() -> types.ModuleType:
    """Return a pickle module for torch < 2.5, whose safe loader has no list to extend."""
    allowed = _allowed()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return _find(module, name, allowed)

    restricted = types.ModuleType("restricted_pickle")
    restricted.__dict__.update(Unpickler=Unpickler, UnpicklingError=pickle.UnpicklingError)
    restricted.load = lambda file, **kw: Unpickler(file, **kw).load()  # type: ignore[attr-defined]
    return restricted
