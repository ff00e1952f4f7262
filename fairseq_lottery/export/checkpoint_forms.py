"""Export of files as plain fairseq checkpoints, slim checkpoints or compact files."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from fairseq_lottery import options
from fairseq_lottery.compat import PHANTOM_PARAMETER, readable_settings
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import Cut, components, load_plugins
from fairseq_lottery.files import replacing
from fairseq_lottery.formats import container, read_checkpoint, read_source, untie
from fairseq_lottery.formats.checkpoints.checkpoint import refuse_not_finite
from fairseq_lottery.formats.checkpoints.cut_model import CUT, has_cut, refuse_undeclared_cut
from fairseq_lottery.formats.checkpoints.run_state import has_gates
from fairseq_lottery.formats.checkpoints.settings import read_settings
from fairseq_lottery.formats.compact_model import KIND, from_state, load_model
from fairseq_lottery.formats.mask_leaks import refuse_leaking
from fairseq_lottery.formats.pair_masks import stored_pair_masks
from fairseq_lottery.formats.source import source_of
from fairseq_lottery.masks import Mask, shapes_of
from fairseq_lottery.tickets.size import rounded, without_negative_zeros

#: shorter types to which values may be rounded
ROUNDINGS = {"fp16": torch.float16, "bf16": torch.bfloat16}
#: removes only the sign of zeros; torch.nn.utils.prune writes negative ones
ZEROS = "zeros"


def export(
    path: Union[str, Path],
    out: Union[str, Path],
    to: str = "dense",
    round_to: Optional[str] = None,
    overwrite: bool = False,
    pair: Optional[str] = None,
) -> Optional[Cut]:
    """Write a checkpoint, ticket or snapshot in another form.

    A checkpoint becomes a plain fairseq checkpoint or a compact model, and a compact model becomes
    a plain checkpoint. Tickets and snapshots keep their kind. Values keep every bit unless they are
    rounded; the order of settings may change. A slim checkpoint, compact or not, becomes dense with
    zeros for the components that were cut out.

    Args:
        path: file to export.
        out: file to write.
        to: ``dense`` stores every weight; ``compact`` codes the mask and the survivors; ``slim``
            stores the weights of a model without heads and units that contribute nothing.
        round_to: with ``compact``, one of ``ROUNDINGS`` rounds each value to the shorter type, and
            ``ZEROS`` replaces -0.0 by 0.0 in a checkpoint.
        overwrite: whether to replace an existing ``out``.
        pair: pair of languages, or a combination as ``--pair-mask`` has it; required for a model
            with masks of pairs, and only for such a model.

    Returns:
        Description of the cut for ``slim``, otherwise None.

    Raises:
        LotteryError: the file is not a fairseq or fairseq-lottery file, or has weights where its
            mask prunes; the rounding requires ``compact``; or there is nothing to cut out.
    """
    if round_to and to != "compact":
        raise LotteryError("--round requires --to compact; add --to compact or leave out --round")
    kind = None if Path(path).suffix != ".safetensors" else container.kind_of(path)
    is_model = kind in (None, KIND)
    if to == "slim" and not is_model:
        raise LotteryError(
            f"{path} is a {kind}, but --to slim requires a checkpoint; give the checkpoint of a"
            " training that started from it"
        )
    if round_to == ZEROS and kind is not None:
        raise LotteryError(
            f"{path} is a {kind}, but --round zeros requires a checkpoint; give a checkpoint of its"
            " training"
        )
    suffix = ".safetensors" if to == "compact" or not is_model else ".pt"
    if (Path(out).suffix == ".safetensors") != (suffix == ".safetensors"):
        form = "checkpoint" if suffix == ".pt" else kind or "compact model"
        raise LotteryError(f"--out {out} will be a {form}; give a name that ends in {suffix}")
    if pair and kind is not None:
        raise LotteryError(f"{path} is a {kind}, but --pair requires a checkpoint; omit it")
    if is_model and to != "compact":
        state = load_model(path)[0] if kind else _plain_of_pair(path, pair)[0]
        state = whole_state(state, path)
        cut = None
        if to == "slim":
            state, cut = components().slim_checkpoint(state, path)
        _save_checkpoint(state, out, overwrite)
        return cut
    if kind is None:
        kind, (state, mask) = KIND, _plain_of_pair(path, pair)
        if round_to == ZEROS:
            state["model"] = {n: without_negative_zeros(t) for n, t in state["model"].items()}
        tensors, record = from_state(state, mask)
    else:
        tensors, record = container.load(path, kind)
        source_of(path, kind, tensors, record)  # validates the contents, not only the container
    if round_to in ROUNDINGS:
        tensors = rounded(tensors, ROUNDINGS[round_to])
        record = {**record, "rounded": round_to}
    container.save(out, kind, tensors, record, overwrite, compact=to == "compact")
    return None


def _plain_of_pair(
    path: Union[str, Path], pair: Optional[str]
) -> tuple[dict[str, Any], Optional[Mask]]:
    """Return the plain state of a checkpoint and its mask; of masks of pairs, those of ``pair``."""
    source = read_source(path)
    state, masks = plain_state(source.state, path), stored_pair_masks(source.lottery)
    if masks is None:
        if pair:
            raise LotteryError(f"{path} has no masks of pairs of languages; omit --pair")
        return state, source.mask
    if not pair:
        raise LotteryError(
            f"{path} has masks of the pairs {', '.join(masks)}; choose one of them with --pair"
        )
    mask = masks.find("", pair)
    names = {**{name: name for name in mask}, **untie(source.state["model"])[1]}
    for alias, name in names.items():
        if name in mask:
            state["model"][alias][~mask[name]] = 0
    return state, mask


def whole_state(state: dict[str, Any], path: Union[str, Path]) -> dict[str, Any]:
    """Return a plain checkpoint at full size, with zeros for components that were cut out."""
    settings = read_settings(state)
    if has_cut(settings.model):
        return components().whole_checkpoint(state, path)
    shapes = shapes_of(state["model"])
    refuse_undeclared_cut(shapes, settings.architecture, path)
    return state


def own_architecture(path: Union[str, Path]) -> Optional[str]:
    """Return the architecture of a checkpoint; None if fairseq itself has the architecture."""
    model = read_settings(read_checkpoint(path)).model
    name = str(model.get("arch") or model.get("_name"))
    entries = (ARCH_MODEL_REGISTRY.get(name), ARCH_CONFIG_REGISTRY.get(name))
    is_fairseqs = all(getattr(e, "__module__", "").split(".")[0] == "fairseq" for e in entries)
    return None if is_fairseqs else name


def _save_checkpoint(state: dict[str, Any], out: Union[str, Path], overwrite: bool) -> None:
    _, ties = untie(state["model"])  # a tied embedding is stored once
    model = {name: state["model"][ties.get(name, name)] for name in state["model"]}
    state = {**state, "model": model, "cfg": readable_settings(state["cfg"])}
    with replacing(out, overwrite) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def _plain(values: Any) -> dict[str, Any]:
    return dict(vars(values)) if isinstance(values, Namespace) else dict(values or {})


def _unprefixed(name: Any, start: str = "", end: str = "") -> Any:
    match = re.fullmatch(f"{start}(.+?){end}", name) if isinstance(name, str) else None
    return match.group(1) if match else name


def plain_state(state: Mapping[str, Any], path: Union[str, Path]) -> dict[str, Any]:
    """Return the checkpoint of a model with the names of fairseq's own task, loss and optimizer.

    It lacks the optimizer state, the task state, learned gates and the copies of weights that
    official 0.12.2 adds, so all supported versions of fairseq load it without extra flags. A slim
    checkpoint stays slim and keeps the name of the lottery task, because no other task can load it.

    Args:
        state: result of ``read_checkpoint``.
        path: file name for messages.

    Raises:
        LotteryError: the checkpoint has no configuration, non-finite values, or weights where its
            mask prunes.
    """
    refuse_not_finite(state["model"], path)
    refuse_leaking(state, path)
    cfg = state.get("cfg")
    if not cfg:
        raise LotteryError(f"{path} has no configuration (it was only prepared); train it first")
    training = options.options(*options.GROUPS, place=options.TRAINING)
    ours = {option.name_in(options.TRAINING) for option in training}
    flags = {flag for plugin in load_plugins() for flag in plugin.FLAGS}
    ours |= {option.key(options.TRAINING) for option in training} | flags
    cfg = {name: _plain(v) if isinstance(v, Namespace) else v for name, v in dict(cfg).items()}
    task = {key: value for key, value in _plain(cfg.get("task")).items() if key not in ours}
    model = {key: value for key, value in _plain(cfg.get("model")).items() if key not in ours}
    cfg["model"] = model
    end = "" if CUT in model else "_lottery"
    cfg["task"] = {**task, "_name": _unprefixed(task.get("_name"), end=end)}
    for name, start, end in (("optimizer", "masked_", ""), ("criterion", "", "_(lottery|gates)")):
        values = {key: value for key, value in _plain(cfg.get(name)).items() if key not in flags}
        cfg[name] = {**values, "_name": _unprefixed(values.get("_name"), start, end)}
    criterion = state.get("criterion")
    cfg["common"] = {**_plain(cfg.get("common")), "user_dir": None}
    phantom = re.compile(PHANTOM_PARAMETER)
    return {
        "args": None,
        "cfg": cfg,
        "model": {n: t.clone() for n, t in state["model"].items() if not phantom.match(n)},
        "criterion": None if has_gates(criterion) else criterion,
        "optimizer_history": state.get("optimizer_history"),
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 1}, "val_loss": None},
        "last_optimizer_state": None,
    }
