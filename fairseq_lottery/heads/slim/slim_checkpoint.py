"""A checkpoint without the heads and units that contribute nothing: smaller and still dense.

Its settings of the model, which stay those of the model before the cut, say what was cut. Under
this plugin's task fairseq builds the model of before and cuts it before the weights are loaded.
Without the plugin fairseq stops at the first matrix of another shape. Translations are those of
before; alignments (``--print-alignment``) are means over the heads that are left, where before
heads of zeros, which attend evenly, were among them.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairseq_lottery.adapters import adapter_of, group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import untie
from fairseq_lottery.formats.checkpoints.architecture import architecture_of
from fairseq_lottery.formats.checkpoints.checkpoint import settings_of
from fairseq_lottery.formats.checkpoints.cut_model import CUT
from fairseq_lottery.heads.components.anatomy import ATTENTIONS, FFNS, Anatomy
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.pruned_weights import closed_in
from fairseq_lottery.heads.slim.cut_settings import kept_text, parts_in, refuse_other_layers
from fairseq_lottery.heads.slim.cutting import (
    cut_weights,
    idle,
    refuse_other_anatomy,
    with_zeros,
)
from fairseq_lottery.inference.model_builder import completed

_KINDS = ("heads", "units")
#: tokens of a sentence where nothing else is said; about a line of news
LENGTH = 25


@dataclass(frozen=True)
class Cut:
    """What was cut out of a model.

    Attributes:
        parts: closed are the heads and units that were cut.
        parameters: before and after, a tied tensor once.
        flops: for a token, before and after; see ``flops_per_token``.
        even: heads that stay because they attend evenly.
    """

    parts: Parts
    parameters: tuple[int, int]
    flops: tuple[float, float]
    even: int

    def describe(self) -> str:
        """Two lines for a reader."""
        counts = (
            f"{self.parts.count_closed(kind)} of {self.parts.count(kind)} {kind}" for kind in _KINDS
        )
        before, after = self.parameters
        costs = [flops / 1e6 for flops in self.flops]
        said = (
            f"{' and '.join(counts)} are cut out\n"
            f"{before} -> {after} parameters ({after / before:.3f}); {costs[0]:.2f} ->"
            f" {costs[1]:.2f} million operations a token at {LENGTH} tokens"
            f" ({costs[1] / costs[0]:.3f})"
        )
        if self.even:
            said += (
                f"\n{self.even} closed heads stay: they attend evenly, and the mean of their values"
                " cannot be cut"
            )
        return said


def slimmed(state: Mapping[str, Any], path: Any) -> tuple[dict[str, Any], Cut]:
    """Return a plain checkpoint without what contributes nothing, and what that was.

    Args:
        state: as ``plain_state`` gives it, of a whole model.
        path: named in messages.

    Raises:
        LotteryError: nothing can be cut, or it is no Transformer of fairseq's.
    """
    cfg = settings_of(state.get("cfg"))
    task = settings_of(cfg.get("task"))
    adapter_of(task.get("_name")).refuse_unless_translating(path, "--to slim")
    settings = settings_of(cfg.get("model"))
    weights = untie(state["model"])[0]
    shapes = _shapes(weights)
    architecture = _completed(cfg, path)
    anatomy = Anatomy.of(shapes, architecture)
    parts = idle(weights, anatomy, str(architecture.get("activation_fn", "relu")))
    closed = closed_in(weights, anatomy)
    even = 0
    if closed.mode == "uniform":
        even = sum(int((~closed["heads"][n] & keep).sum()) for n, keep in parts["heads"].items())
    if not any(map(parts.count_closed, _KINDS)):
        why = (
            f"its {even} closed heads attend evenly, and the mean of their values cannot be cut"
            if even
            else "every head and every unit of it contributes something; prune whole ones first"
        )
        raise LotteryError(f"{path} cannot become smaller: {why}")
    smaller = cut_weights(weights, parts)
    model = cut_weights(state["model"], parts)
    numbers = [sum(tensor.numel() for tensor in one.values()) for one in (weights, smaller)]
    told = Cut(
        parts,
        (numbers[0], numbers[1]),
        (flops_per_token(shapes), flops_per_token(_shapes(smaller))),
        even,
    )
    cfg = {
        **cfg,
        "model": {**settings, CUT: kept_text(parts)},
        "task": {**task, "_name": f"{task.get('_name') or 'translation'}_lottery"},
    }
    return {**state, "cfg": cfg, "model": model}, told


def whole(state: Mapping[str, Any], path: Any) -> dict[str, Any]:
    """Return a plain checkpoint with zeros where something was cut out.

    Raises:
        LotteryError: the settings say something else than the weights.
    """
    cfg = settings_of(state.get("cfg"))
    settings, task = settings_of(cfg.get("model")), settings_of(cfg.get("task"))
    parts = parts_in(settings)
    model = with_zeros(state["model"], parts)
    architecture = _completed(cfg, path)
    refuse_other_layers(_shapes(model), parts.anatomy, architecture)
    refuse_other_anatomy(Anatomy.of(_shapes(model), architecture), parts)
    name = re.sub("_lottery$", "", str(task.get("_name") or "translation"))
    cfg = {
        **cfg,
        "model": {key: value for key, value in settings.items() if key != CUT},
        "task": {**task, "_name": name},
    }
    return {**state, "cfg": cfg, "model": model}


def flops_per_token(shapes: Mapping[str, tuple[int, ...]], length: int = LENGTH) -> float:
    """Operations for one token of source and one of target, a multiplication and an addition each.

    For source and target of ``length`` tokens and one hypothesis, keys and values kept from step to
    step:

        2 x weights of the attention and FFN matrices of the encoder and of the decoder
        + 2 x vocabulary x width, the output projection
        + 4 x keys x width of all heads, for each attention: scores, and the mean of the values

    Keys are ``length``, but in the decoder's self-attention (length + 1) / 2, the mean over its
    steps. Left out is what grows with the width only: embeddings, biases, norms, softmax.
    """
    total = 0.0
    keys = {"enc_self": length, "dec_self": (length + 1) / 2, "enc_dec": length}
    for name, shape in shapes.items():
        group = group_of(name)
        if len(shape) != 2 or group not in (*ATTENTIONS, *FFNS):
            continue
        total += 2 * shape[0] * shape[1]
        if name.endswith(".out_proj.weight"):
            total += 4 * keys[group] * shape[1]
    output = (
        *("decoder.output_projection.weight", "decoder.embed_tokens.weight"),
        "encoder.embed_tokens.weight",
    )
    rows, width = next((shapes[name] for name in output if name in shapes), (0, 0))
    return total + 2 * rows * width


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def _completed(cfg: Mapping[str, Any], path: Any) -> dict[str, Any]:
    """Return the settings that shape the model, with the defaults of its architecture."""
    return vars(completed(Namespace(**architecture_of(cfg)), path))
