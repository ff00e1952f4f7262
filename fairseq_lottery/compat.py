"""Workarounds for versions of torch and fairseq; each states when it can be removed."""

from __future__ import annotations

import importlib
import inspect
import types
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any, Optional

import numpy as np

# The encoder layers of official fairseq 0.12.2 carry zero-filled copies of their weights for
# BetterTransformer. Removable when 0.12.2 is no longer supported.
PHANTOM_PARAMETER = (
    r"^(encoder\.(sentence_encoder\.)?)?layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$"
)


def fairseq_module(name: str) -> Any:
    """Import ``fairseq.<name>``; return None if fairseq cannot be imported."""
    try:
        return importlib.import_module(f"fairseq.{name}")
    except Exception:  # noqa: BLE001 - ImportError, or ValueError of 0.12.2 under Python 3.11
        return None


def whole_config(task_cfg: Any) -> Any:
    """Return the configuration of the whole training, of which a task's own is a section.

    fairseq passes a task only its own section. Interpolations would give a task a few other values,
    but a command that lacks such a value reads a wrong one: with omegaconf 2.0
    ``fairseq-generate`` reads True. Removable when fairseq passes a task the whole configuration.
    """
    return task_cfg._get_root()


def readable_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's configuration in the form in which fairseq builds its model.

    BART reads the name of the task from the settings of its model. fairseq passes on settings that
    its Transformers do not declare from a Namespace, but not from a mapping. Removable when BART
    does not read ``args.task``.
    """
    models, bart = fairseq_module("models"), fairseq_module("models.bart")
    model = cfg.get("model") or {}
    kind = models.ARCH_MODEL_REGISTRY.get(model.get("arch"), object)
    is_bart = issubclass(kind, bart.BARTModel)
    return {**cfg, "model": Namespace(**model)} if is_bart else dict(cfg)


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


def source_lengths(generator: Any, net_input: Mapping[str, Any]) -> Any:
    """Return the length of each sentence, as the search of this fairseq counts: int64, (sentences).

    0.12.2 counts without the end symbol; later versions take the lengths of the batch. Removable
    when 0.12.2 is no longer supported.
    """
    if "src_lengths" in net_input and _search_reads_lengths():
        return net_input["src_lengths"]
    source = net_input["src_tokens"]
    return (source.ne(generator.eos) & source.ne(generator.pad)).long().sum(dim=1)


@cache  # reading the source takes 10 ms
def _search_reads_lengths() -> bool:
    generator = fairseq_module("sequence_generator").SequenceGenerator
    return '"src_lengths"' in inspect.getsource(generator._generate)


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


def gather_lists_on_cpu(size: int) -> None:
    """Let fairseq gather lists of several processes on a machine without a GPU.

    ``all_gather_list``, which collects logged values that cannot be summed, allocates its buffers
    on a GPU. Removable when it allocates them on the device of the process group.

    Args:
        size: maximum size of a process's list in bytes, ``--all-gather-list-size``.
    """
    import torch

    gather = importlib.import_module("fairseq.distributed.utils").all_gather_list
    if not torch.cuda.is_available():
        gather._buffer = torch.ByteTensor(size * torch.distributed.get_world_size())
        gather._cpu_buffer = torch.ByteTensor(size)


def forget_best() -> None:
    """Reset the best metric, so that the next validation is the best one so far.

    fairseq keeps the best metric on a function and restores it with a checkpoint, even if weights
    were pruned since. Removable when a task can define which checkpoints are comparable.
    """
    from fairseq import checkpoint_utils

    checkpoint_utils.save_checkpoint.__dict__.pop("best", None)


#: attribute of fairseq's layers -> value that makes a layer call its linear modules
_CALLS_MODULES = {"skip_embed_dim_check": True, "load_to_BT": False}


def divided_twice(optimizer: Any) -> float:
    """Return the factor by which gradients are too small in a step of the trainer's optimizer.

    ``AMPOptimizer.clip_grad_norm`` unscales gradients for torch's optimizer, and its ``step`` again
    for fairseq's, so they are divided by the loss scale twice. Adam does not depend on it.
    Removable when fairseq passes the same optimizer to both.
    """
    module = fairseq_module("optim.amp_optimizer")
    if module is None or not isinstance(optimizer, module.AMPOptimizer):
        return 1.0
    return float(optimizer.scaler.get_scale())


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


def fused_attention() -> Optional[Callable[..., Any]]:
    """Return torch's fused function of queries, keys, values and a mask; None before torch 2.0.

    Callers then compute attention themselves. Removable when these versions are no longer
    supported.
    """
    import torch

    return getattr(torch.nn.functional, "scaled_dot_product_attention", None)


@contextmanager
def attention_for_any_length(device: str) -> Iterator[None]:
    """Compute attention on a GPU by kernels that need no plan for each new length.

    cuDNN makes a plan for each number of keys, in some 30 ms. Beam search has one key more in each
    step. Removable when torch has no plans for single queries.

    Args:
        device: type of the device, such as ``cuda``.
    """
    with ExitStack() as stack:
        if device == "cuda":
            with suppress(ImportError):  # torch before 2.3
                attention: Any = importlib.import_module("torch.nn.attention")
                names = ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")
                kernels = [getattr(attention.SDPBackend, name) for name in names]
                stack.enter_context(attention.sdpa_kernel(kernels))
        yield
