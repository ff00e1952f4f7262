"""A checkpoint without the heads and units that contribute nothing: smaller and still dense.

Its model settings are those before the cut, plus one that records the cut. Under this plugin's
task fairseq builds the model before the cut and cuts it before the weights are loaded. Without the
plugin fairseq stops at the first matrix of another shape. Translations are unchanged. Alignments
(``--print-alignment``) are means over the heads that remain; before the cut, heads of zeros, which
attend evenly, were among them.
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
from fairseq_lottery.formats.checkpoints.cut_model import CUT
from fairseq_lottery.formats.checkpoints.settings import Settings, read_settings, settings_of
from fairseq_lottery.heads.components.anatomy import ATTENTIONS, FFNS, Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import find_pruned
from fairseq_lottery.heads.slim.cut_settings import encode_cut, read_cut, refuse_other_layers
from fairseq_lottery.heads.slim.cutting import (
    cut_weights,
    find_idle,
    refuse_other_anatomy,
    with_zeros,
)
from fairseq_lottery.masks import shapes_of

_KINDS = ("heads", "units")
#: default number of tokens of a sentence, about a line of news
LENGTH = 25


@dataclass(frozen=True)
class Cut:
    """The heads and units that were cut out of a model.

    Attributes:
        components: prunes the heads and units that were cut.
        parameters: before and after the cut, a tied tensor once.
        flops: per token, before and after the cut; see ``flops_per_token``.
        even: number of pruned heads that attend evenly and were therefore not cut.
    """

    components: ComponentMask
    parameters: tuple[int, int]
    flops: tuple[float, float]
    even: int

    def describe(self) -> str:
        """Return two lines for a reader."""
        counts = (
            f"{self.components.count_pruned(kind)} of {self.components.count(kind)} {kind}"
            for kind in _KINDS
        )
        before, after = self.parameters
        costs = [flops / 1e6 for flops in self.flops]
        text = (
            f"{' and '.join(counts)} are cut out\n"
            f"{before} -> {after} parameters ({after / before:.3f}); {costs[0]:.2f} ->"
            f" {costs[1]:.2f} million operations a token at {LENGTH} tokens"
            f" ({costs[1] / costs[0]:.3f})"
        )
        if self.even:
            text += (
                f"\n{self.even} pruned heads are not cut: they attend evenly and output the mean of"
                " their values"
            )
        return text


def slim_checkpoint(state: Mapping[str, Any], path: Any) -> tuple[dict[str, Any], Cut]:
    """Return a plain checkpoint without components that contribute nothing, and the cut.

    Args:
        state: result of ``plain_state`` for a model that is not cut.
        path: path for messages.

    Raises:
        LotteryError: nothing can be cut, or the model is not a Transformer of fairseq.
    """
    settings = read_settings(state)
    task = settings.task
    adapter_of(task.get("_name")).refuse_unless_translating(path, "--to slim")
    weights = untie(state["model"])[0]
    shapes = shapes_of(weights)
    architecture = _completed(settings, path)
    anatomy = Anatomy.of(shapes, architecture)
    components = find_idle(weights, anatomy, str(architecture.get("activation_fn", "relu")))
    pruned = find_pruned(weights, anatomy)
    uncut = set(pruned.pruned("heads")) - set(components.pruned("heads"))
    even = len(uncut) if pruned.mode == "uniform" else 0
    if not any(map(components.count_pruned, _KINDS)):
        why = (
            f"its {even} pruned heads attend evenly and output the mean of their values"
            if even
            else "every head and every unit contributes; prune whole heads or units first"
        )
        raise LotteryError(f"nothing can be cut out of {path}: {why}")
    smaller = cut_weights(weights, components)
    model = cut_weights(state["model"], components)
    numbers = [sum(tensor.numel() for tensor in one.values()) for one in (weights, smaller)]
    cut = Cut(
        components,
        (numbers[0], numbers[1]),
        (flops_per_token(shapes), flops_per_token(shapes_of(smaller))),
        even,
    )
    cfg = {
        **settings_of(state.get("cfg")),
        "model": {**settings.model, CUT: encode_cut(components)},
        "task": {**task, "_name": f"{task.get('_name') or 'translation'}_lottery"},
    }
    return {**state, "cfg": cfg, "model": model}, cut


def whole_checkpoint(state: Mapping[str, Any], path: Any) -> dict[str, Any]:
    """Return a plain checkpoint with zeros where components were cut out.

    Raises:
        LotteryError: the settings do not match the weights.
    """
    settings = read_settings(state)
    components = read_cut(settings.model)
    model = with_zeros(state["model"], components)
    architecture = _completed(settings, path)
    refuse_other_layers(shapes_of(model), components.anatomy, architecture)
    refuse_other_anatomy(Anatomy.of(shapes_of(model), architecture), components)
    name = re.sub("_lottery$", "", str(settings.task.get("_name") or "translation"))
    cfg = {
        **settings_of(state.get("cfg")),
        "model": {key: value for key, value in settings.model.items() if key != CUT},
        "task": {**settings.task, "_name": name},
    }
    return {**state, "cfg": cfg, "model": model}


def flops_per_token(shapes: Mapping[str, tuple[int, ...]], length: int = LENGTH) -> float:
    """Return the operations for one source token and one target token.

    A multiplication and an addition are two operations. For source and target of ``length`` tokens,
    one hypothesis, and cached keys and values:

        2 x weights of the attention and FFN matrices of encoder and decoder
        + 2 x vocabulary x width, the output projection
        + 4 x keys x width of all heads, for each attention: scores, and the mean of the values

    Keys are ``length``, but (length + 1) / 2 in decoder self-attention, the mean over its steps.
    Operations that grow with the width only are left out: embeddings, biases, norms, softmax.
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


def _completed(settings: Settings, path: Any) -> dict[str, Any]:
    """Return the settings that shape the model, with the defaults of its architecture."""
    from fairseq_lottery.inference.model_builder import complete_arguments  # imports fairseq

    return vars(complete_arguments(Namespace(**settings.architecture), path))
