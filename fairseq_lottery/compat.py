"""Every workaround for a version of torch or fairseq, each with what makes it removable."""

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
        found = importlib.import_module(module)
    except ImportError:
        return []
    return [getattr(found, name) for name in names.split() if hasattr(found, name)]


def safe_classes() -> list[Any]:
    """The classes, all of them plain data, that fairseq puts into its checkpoints.

    Beyond torch's own list: the command line as a Namespace, numpy's numbers and arrays in
    the metrics, and omegaconf's nodes in what one process sends to the others.
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

    fairseq calls ``torch.load`` without ``weights_only``, which torch >= 2.6 takes as True.
    Removable when fairseq registers these classes itself.
    """
    if hasattr(torch.serialization, "add_safe_globals"):
        # stands for a tensor in what the first process sends to the others on resuming
        placeholder = _classes("fairseq.distributed.utils", "_TensorPlaceholder")
        torch.serialization.add_safe_globals(safe_classes() + placeholder)


def fairseq_module(name: str) -> Any:
    """Import ``fairseq.<name>``; return None where fairseq cannot be imported."""
    try:
        return importlib.import_module(f"fairseq.{name}")
    except Exception:  # noqa: BLE001 - ValueError of 0.12.2 under Python 3.11; else ImportError
        return None


def refuse_code(path: Union[str, Path]) -> None:
    """Refuse a checkpoint whose pickle asks for more than plain data; load nothing.

    ``safe_load`` does this first: with torch before 2.6, loading runs what a file asks for.

    Raises:
        NotAllowedError: it asks for more than plain data.
        ValueError, OSError, ...: it is no checkpoint, or corrupted.
    """
    # what the user has allowed torch to load
    given: list[Any] = getattr(torch.serialization, "get_safe_globals", list)()
    classes = [one for one in given if not isinstance(one, tuple)]
    named = {(one.__module__, one.__qualname__) for one in classes}
    allowed = _allowed()
    for module, name in sorted(names_in(path) - named):
        _find(module, name, allowed)


def safe_load(path: Union[str, Path]) -> dict[str, Any]:
    """Load a fairseq checkpoint to the CPU without running anything; raise what torch raises."""
    refuse_code(path)
    if hasattr(torch.serialization, "safe_globals"):
        # on leaving it forgets all it was given, also what the plugin had registered before
        known = torch.serialization.get_safe_globals()
        with torch.serialization.safe_globals([c for c in safe_classes() if c not in known]):
            # torch maps zip archives, unless their names are no text
            is_text = str(path).isprintable()
            with open(path, "rb") as file:
                is_mapped = is_text and file.read(2) == b"PK"
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    return torch.load(path, map_location="cpu", pickle_module=_restricted_pickle())


def _old_name(module: str) -> str:
    """One name for what numpy 2 has renamed, and for what pickle's protocol 2 calls its own."""
    return module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")


def _allowed() -> dict[tuple[str, str], Any]:
    """Module and name -> what a checkpoint may ask for, types of storages and tensors aside."""
    allowed = {(_old_name(c.__module__), c.__qualname__): c for c in safe_classes() if c is not Any}
    allowed["typing", "Any"] = Any
    allowed["builtins", "long"], allowed["builtins", "unicode"] = int, str  # in protocol 2
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        allowed["torch._utils", name] = getattr(torch._utils, name)
    allowed["torch", "Size"] = torch.Size
    allowed["_codecs", "encode"] = codecs.encode  # how protocol 2 writes the bytes of a number
    return allowed


def _find(module: str, name: str, allowed: Mapping[tuple[str, str], Any]) -> Any:
    """Return what a checkpoint asks for: of ``allowed``, or a type of storages or tensors."""
    if (_old_name(module), name) in allowed:
        return allowed[_old_name(module), name]
    place = torch.storage if module == "torch.storage" else torch
    found = getattr(place, name, None) if "." not in name else None
    if module == "torch.storage":
        is_type = name in ("UntypedStorage", "TypedStorage")
    else:
        is_dtype = module == "torch" and isinstance(found, torch.dtype)
        is_type = is_dtype or (name.endswith("Storage") and module in ("torch", "torch.cuda"))
    if found is None or not is_type:
        raise NotAllowedError(f"{module}.{name} is not allowed in a checkpoint")
    return found


def _restricted_pickle() -> types.ModuleType:
    """A pickle module for torch < 2.5, whose safe loader cannot be told what else is safe."""
    allowed = _allowed()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return _find(module, name, allowed)

    restricted = types.ModuleType("restricted_pickle")
    restricted.Unpickler = Unpickler  # type: ignore[attr-defined]
    restricted.load = lambda file, **kw: Unpickler(file, **kw).load()  # type: ignore[attr-defined]
    return restricted


def whole_config(task_cfg: Any) -> Any:
    """The configuration of the whole training that a task's own is a part of.

    fairseq hands a task its own part only. Interpolations, the way for a few values, become
    wrong ones in the commands that lack a value: with omegaconf 2.0 ``fairseq-generate``
    takes them for True. Removable when fairseq hands a task the whole configuration.
    """
    return task_cfg._get_root()


def as_written(section: Any) -> Any:
    """A section of a checkpoint's configuration as plain values, its references as texts.

    omegaconf looks a reference up when it is read, in the environment as well: whoever made the
    file would decide what of ours stands in the record of a ticket. Removable when no fairseq
    saves omegaconf's own classes.
    """
    return importlib.import_module("omegaconf").OmegaConf.to_container(section, resolve=False)


def scale_steps_apart(adafactor: Any) -> None:
    """Let Adafactor scale the step of each parameter by that parameter only.

    fairseq's writes every scaled rate back into the group that all parameters share, so with
    ``--scale-parameter`` and a rate from outside each step is scaled by all parameters before
    it as well: the fifth is already a millionth of what was asked for. Removable when no
    fairseq writes to ``group["lr"]`` there.
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
    """While inside, numpy has ``np.compat.long``, which fairseq's language-model data sets use.

    numpy 2 has not. Removable when ``fairseq/data/token_block_dataset.py`` uses ``np.int64``.
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
    """Return how many batches may be loaded ahead by a thread: as many, or none.

    0.12.2 masks tokens by numpy's global generator, which threads that load training and validation
    data seed in turn: then equal commands train differently. Removable with 0.12.2.
    """
    module = fairseq_module("data.mask_tokens_dataset")
    return size if "default_rng" in inspect.getsource(module) else 0


def forget_best() -> None:
    """Let the next validation be the best one so far.

    fairseq keeps the best metric on a function and restores it with a checkpoint, whatever is
    pruned since. Removable when a task can say which checkpoints compare.
    """
    from fairseq import checkpoint_utils

    checkpoint_utils.save_checkpoint.__dict__.pop("best", None)


#: attributes of fairseq's layers, and what they are where modules are called, not read
_CALLS_MODULES = {"skip_embed_dim_check": True, "load_to_BT": False}


def use_modules(model: Any) -> list[tuple[Any, str, Any]]:
    """Let fairseq's attention and encoder layers call their linear layers, not read their weights.

    The fused paths, of torch's attention function and of 0.12.2's encoder, know dense weights
    only. Removable when fairseq has one path that calls modules.

    Returns:
        Module, attribute and value of each switch before.
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
    """While inside, as after ``use_modules``; afterwards as before."""
    before = use_modules(model)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
