"""A checkpoint of ours as plain fairseq would have written it."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any, Union

import torch
from fairseq.tasks.translation import TranslationConfig

from fairseq_lottery.compat import PHANTOM_PARAMETER
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.tasks.config import LotteryConfig
from fairseq_lottery.tickets import read_checkpoint


def _plain(values: Any) -> dict[str, Any]:
    return dict(vars(values)) if isinstance(values, Namespace) else dict(values or {})


def _unprefixed(name: Any, start: str = "", end: str = "") -> Any:
    if isinstance(name, str) and name.startswith(start) and name.endswith(end):
        return name[len(start) : len(name) - len(end)]
    return name


def export(path: Union[str, Path], out: Union[str, Path], overwrite: bool = False) -> None:
    """Write the model of ``path`` with the names of fairseq's own task, loss and optimizer.

    Optimizer and task state are left out, and so are the copies of weights that official
    0.12.2 carries: the file loads on both stacks without switches.
    """
    state = read_checkpoint(path)
    cfg = state.get("cfg")
    if not cfg:
        raise LotteryError(f"{path} has no configuration (it is only a prepared start); train it")
    ours = {f.name for f in fields(LotteryConfig)} - {f.name for f in fields(TranslationConfig)}
    cfg = {part: _plain(v) if isinstance(v, Namespace) else v for part, v in dict(cfg).items()}
    task = {key: value for key, value in _plain(cfg["task"]).items() if key not in ours}
    cfg["task"] = {**task, "_name": _unprefixed(task.get("_name"), end="_lottery")}
    model = {key: value for key, value in _plain(cfg["model"]).items() if key not in ours}
    cfg["model"] = model
    for part, start, end in (("optimizer", "masked_", ""), ("criterion", "", "_lottery")):
        values = _plain(cfg.get(part))
        cfg[part] = {**values, "_name": _unprefixed(values.get("_name"), start, end)}
    cfg["common"] = {**_plain(cfg.get("common")), "user_dir": None}
    phantom = re.compile(PHANTOM_PARAMETER)
    plain = {
        "args": None,
        "cfg": cfg,
        "model": {n: t.clone() for n, t in state["model"].items() if not phantom.match(n)},
        "criterion": state.get("criterion"),
        "optimizer_history": state.get("optimizer_history"),
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 1}, "val_loss": None},
        "last_optimizer_state": None,
    }
    with replacing(out, overwrite) as temporary:
        torch.save(plain, temporary)
