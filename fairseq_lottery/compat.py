"""Workarounds for versions of torch and fairseq; each states when it can be removed."""

from __future__ import annotations

import argparse
import codecs
import collections
import importlib
import inspect
import pickle
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch

from fairseq_lottery.files.pickles import NotAllowedError, names_in

# The encoder layers of official fairseq 0.12.2 carry zero-filled copies of their weights for
# BetterTransformer. Removable when 0.12.2 is no longer supported.
PHANTOM_PARAMETER = (
    r"^(encoder\.(sentence_encoder\.)?)?layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$"
)


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


def fairseq_module(name: str) -> Any:
    """Import ``fairseq.<name>``; return None if fairseq cannot be imported."""
    try:
        return importlib.import_module(f"fairseq.{name}")
    except Exception:  # noqa: BLE001 - ImportError, or ValueError of 0.12.2 under Python 3.11
        return None


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
    return torch.load(path, map_location="cpu", pickle_module=_restricted_pickle())


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
    restricted.Unpickler = Unpickler  # type: ignore[attr-defined]
    restricted.load = lambda file, **kw: Unpickler(file, **kw).load()  # type: ignore[attr-defined]
    return restricted


def whole_config(task_cfg: Any) -> Any:
    """Return the configuration of the whole training, of which a task's own is a section.

    fairseq passes a task only its own section. Interpolations would give a task a few other values,
    but a command that lacks such a value reads a wrong one: with omegaconf 2.0
    ``fairseq-generate`` reads True. Removable when fairseq passes a task the whole configuration.
    """
    return task_cfg._get_root()


def as_written(section: Any) -> Any:
    """Return a section of a checkpoint's configuration as plain values with unresolved references.

    omegaconf resolves references on access, also those to environment variables. So the author of a
    file could copy values of our environment into the record of a ticket. Removable when no
    fairseq saves omegaconf's own classes.
    """
    return importlib.import_module("omegaconf").OmegaConf.to_container(section, resolve=False)


def scale_steps_apart(adafactor: Any) -> None:
    """Let Adafactor scale the step of each parameter by the scale of that parameter only.

    fairseq's Adafactor writes every scaled rate back into the group that all parameters share.
    With ``--scale-parameter`` and an external rate, each step is then also scaled by all earlier
    parameters: the fifth step is a millionth of the intended one. Removable when no fairseq
    writes to ``group["lr"]`` there.
    """

    class Apart(type(adafactor)):  # type: ignore[misc]
        def _get_lr(self, param_group: dict[str, Any], param_state: dict[str, Any]) -> Any:
            rate = self._rates[id(param_group)]
            return super()._get_lr({**param_group, "lr": rate}, param_state)

        def step(self, closure: Any = None) -> Any:
            self._rates = {id(group): group["lr"] for group in self.param_groups}
            loss = super().step(closure)
            for group in self.param_groups:
                group["lr"] = self._rates[id(group)]
            return loss

    adafactor.__class__ = Apart


@contextmanager
def numpy_has_compat() -> Iterator[None]:
    """Give numpy 2 ``np.compat.long``, which fairseq's language-model data sets use.

    Removable when ``fairseq/data/token_block_dataset.py`` uses ``np.int64``.
    """
    if hasattr(np, "compat"):
        yield
        return
    np.compat = types.SimpleNamespace(long=int)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del np.compat  # type: ignore[attr-defined]


def unshared_buffer(size: int) -> int:
    """Return the number of batches that a thread may load ahead: ``size`` or 0.

    0.12.2 masks tokens with numpy's global generator. Threads for training data and for validation
    data seed it in turn, so equal commands train differently. Removable when 0.12.2 is no longer
    supported.
    """
    module = fairseq_module("data.mask_tokens_dataset")
    return size if "default_rng" in inspect.getsource(module) else 0


def forget_best() -> None:
    """Reset the best metric, so that the next validation is the best one so far.

    fairseq keeps the best metric on a function and restores it with a checkpoint, even if weights
    were pruned since. Removable when a task can define which checkpoints are comparable.
    """
    from fairseq import checkpoint_utils

    checkpoint_utils.save_checkpoint.__dict__.pop("best", None)


#: attribute of fairseq's layers -> value that makes a layer call its linear modules
_CALLS_MODULES = {"skip_embed_dim_check": True, "load_to_BT": False}


def use_modules(model: Any) -> list[tuple[Any, str, Any]]:
    """Make fairseq's attention and encoder layers call their linear layers.

    The fused paths (torch's attention function, 0.12.2's encoder) read dense weights instead of
    calling modules. Removable when fairseq has one path that calls modules.

    Returns:
        Module, attribute and previous value of each switch.
    """
    before = [
        (module, name, getattr(module, name))
        for module in model.modules()
        for name in _CALLS_MODULES
        if hasattr(module, name)
    ]
    for module, name, _ in before:
        setattr(module, name, _CALLS_MODULES[name])
    return before


@contextmanager
def modules_are_used(model: Any) -> Iterator[None]:
    """Apply ``use_modules`` inside the context and restore the switches afterwards."""
    before = use_modules(model)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
