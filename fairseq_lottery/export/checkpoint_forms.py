"""A file of ours in another form: as plain fairseq would have written it, or as small as can be."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from fairseq_lottery import options
from fairseq_lottery.compat import PHANTOM_PARAMETER
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import Cut, components, load_plugins
from fairseq_lottery.files import replacing
from fairseq_lottery.formats import container, read_checkpoint, read_source, untie
from fairseq_lottery.formats.checkpoints.architecture import architecture_of
from fairseq_lottery.formats.checkpoints.checkpoint import refuse_not_finite, settings_of
from fairseq_lottery.formats.checkpoints.cut_model import CUT, has_cut, refuse_unsaid_cut
from fairseq_lottery.formats.checkpoints.run_state import has_gates
from fairseq_lottery.formats.compact_model import KIND, from_state, load_model
from fairseq_lottery.formats.mask_leaks import refuse_leaking
from fairseq_lottery.formats.source import source_of
from fairseq_lottery.tickets.size import rounded, without_negative_zeros

#: shorter types that values may be rounded to
ROUNDINGS = {"fp16": torch.float16, "bf16": torch.bfloat16}
#: drops the sign of zeros, as torch.nn.utils.prune leaves them, and nothing else
ZEROS = "zeros"


def export(
    path: Union[str, Path],
    out: Union[str, Path],
    to: str = "dense",
    round_to: Optional[str] = None,
    overwrite: bool = False,
) -> Optional[Cut]:
    """Write a checkpoint, ticket or snapshot in another form.

    A checkpoint becomes one that plain fairseq loads, or a compact model; that, a plain
    checkpoint again. Tickets and snapshots are what they are in either form. Both ways no value
    changes by a bit, unless values are to be rounded; the order of settings may. A slim checkpoint,
    whole or compact, becomes dense with zeros where something was cut out.

    Args:
        to: ``dense`` holds every weight, ``compact`` codes the mask and what survives, ``slim``
            holds every weight of a model without the heads and units that contribute nothing.
        round_to: one of ``ROUNDINGS``, for ``compact``: each value loses the bits that the
            shorter type does not hold. Or ``ZEROS``, for a checkpoint: -0.0 becomes 0.0.

    Returns:
        What was cut out, for ``slim``.

    Raises:
        LotteryError: no file of ours or of fairseq's, one with weights where its mask prunes,
            rounding for another form than ``compact``, or nothing to cut out.
    """
    if round_to and to != "compact":
        raise LotteryError("--round makes a compact file smaller; give --to compact with it")
    kind = None if Path(path).suffix != ".safetensors" else container.kind_of(path)
    is_model = kind in (None, KIND)
    if to == "slim" and not is_model:
        raise LotteryError(
            f"{path} is a {kind}, which a training starts from; --to slim takes the checkpoint of"
            " that training"
        )
    if round_to == ZEROS and kind is not None:
        raise LotteryError(
            f"{path} is a {kind}, whose mask is made; --round zeros takes the checkpoint before it"
        )
    named, contained = Path(out).suffix == ".safetensors", to == "compact" or not is_model
    if contained and not named:
        what = f"a {kind or 'checkpoint'} of ours, whose name ends in .safetensors"
        raise LotteryError(f"--out {out} will be {what}")
    if named and not contained:
        raise LotteryError(f"--out {out} will be a checkpoint, whose name ends in .pt")
    if is_model and to != "compact":
        state = load_model(path)[0] if kind else plain_state(read_checkpoint(path), path)
        state = whole_state(state, path)
        cut = None
        if to == "slim":
            state, cut = components().slim_checkpoint(state, path)
        _save_checkpoint(state, out, overwrite)
        return cut
    if kind is None:
        kind, source = KIND, read_source(path)
        state = plain_state(source.state, path)
        if round_to == ZEROS:
            state["model"] = {n: without_negative_zeros(t) for n, t in state["model"].items()}
        tensors, record = from_state(state, source.mask)
    else:
        tensors, record = container.load(path, kind)
        source_of(path, kind, tensors, record)  # it is what it says, not only whole
    if round_to in ROUNDINGS:
        tensors = rounded(tensors, ROUNDINGS[round_to])
        record = {**record, "rounded": round_to}
    container.save(out, kind, tensors, record, overwrite, compact=to == "compact")
    return None


def whole_state(state: dict[str, Any], path: Union[str, Path]) -> dict[str, Any]:
    """Return a plain checkpoint with zeros where something was cut out; a whole one as it is."""
    cfg = settings_of(state.get("cfg"))
    if has_cut(cfg.get("model")):
        return components().whole_checkpoint(state, path)
    shapes = {name: tuple(tensor.shape) for name, tensor in state["model"].items()}
    refuse_unsaid_cut(shapes, architecture_of(cfg), path)
    return state


def own_architecture(path: Union[str, Path]) -> Optional[str]:
    """Return the architecture of a checkpoint where fairseq itself does not have it."""
    model = settings_of(settings_of(read_checkpoint(path).get("cfg")).get("model"))
    name = str(model.get("arch") or model.get("_name"))
    parts = (ARCH_MODEL_REGISTRY.get(name), ARCH_CONFIG_REGISTRY.get(name))
    is_fairseqs = all(getattr(p, "__module__", "").split(".")[0] == "fairseq" for p in parts)
    return None if is_fairseqs else name


def _save_checkpoint(state: dict[str, Any], out: Union[str, Path], overwrite: bool) -> None:
    _, ties = untie(state["model"])  # a tied embedding is stored once
    model = {name: state["model"][ties.get(name, name)] for name in state["model"]}
    state = {**state, "model": model}
    with replacing(out, overwrite) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def _plain(values: Any) -> dict[str, Any]:
    return dict(vars(values)) if isinstance(values, Namespace) else dict(values or {})


def _unprefixed(name: Any, start: str = "", end: str = "") -> Any:
    found = re.fullmatch(f"{start}(.+?){end}", name) if isinstance(name, str) else None
    return found.group(1) if found else name


def plain_state(state: Mapping[str, Any], path: Union[str, Path]) -> dict[str, Any]:
    """The model of a checkpoint, with the names of fairseq's own task, loss and optimizer.

    Optimizer and task state are left out, and so are gates that were learned and the copies of
    weights that official 0.12.2 carries: saved, it loads on both stacks without switches. One that
    something was cut out of stays so, and keeps the name of our task, which alone can load it.

    Args:
        state: as ``read_checkpoint`` gives it.
        path: named in messages.
    """
    refuse_not_finite(state["model"], path)
    refuse_leaking(state, path)
    cfg = state.get("cfg")
    if not cfg:
        raise LotteryError(f"{path} has no configuration (it is only a prepared start); train it")
    own = options.options(*options.GROUPS, place=options.TRAINING)
    ours = {one.name_in(options.TRAINING) for one in own}
    flags = {flag for plugin in load_plugins() for flag in plugin.FLAGS}
    ours |= {one.key(options.TRAINING) for one in own} | flags
    cfg = {part: _plain(v) if isinstance(v, Namespace) else v for part, v in dict(cfg).items()}
    task = {key: value for key, value in _plain(cfg.get("task")).items() if key not in ours}
    model = {key: value for key, value in _plain(cfg.get("model")).items() if key not in ours}
    cfg["model"] = model
    end = "" if CUT in model else "_lottery"
    cfg["task"] = {**task, "_name": _unprefixed(task.get("_name"), end=end)}
    for part, start, end in (("optimizer", "masked_", ""), ("criterion", "", "_(lottery|gates)")):
        values = {key: value for key, value in _plain(cfg.get(part)).items() if key not in flags}
        cfg[part] = {**values, "_name": _unprefixed(values.get("_name"), start, end)}
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
