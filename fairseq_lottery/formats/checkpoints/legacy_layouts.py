"""Convert old layouts of fairseq's checkpoints with fairseq's own code.

fairseq is imported only for files in an old layout.
"""

from __future__ import annotations

import importlib
import re
import warnings
from argparse import Namespace
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.compat import fairseq_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.settings import settings_of

#: weights that fairseq renames or splits on loading
_OLD_NAME = re.compile(
    r"_attn\.in_proj_weight$|\.layers\.\d+\.layer_norms\.\d+\.|^decoder\.embed_out$"
    r"|^decoder\.(sentence_encoder|lm_head)\.|\.emb_layer_norm\."
)
_LAYER = re.compile(r"^((?:en|de)coder)\.layers\.(\d{1,3})\.")
#: strings that fairseq's conversion does not interpret: without quotes and references
_TEXT = re.compile(r"[^'\\$\x00-\x1f\x7f]*")


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of an old fairseq in today's layout, any other unchanged.

    Raises:
        LotteryError: fairseq is missing or cannot convert the checkpoint.
    """
    is_old = bool(state.get("args") and not state.get("cfg"))
    if is_old:
        state = {**state, "args": None, "cfg": _sections(settings_of(state["args"]))}
    if _has_old_names(state["model"]):
        model = settings_of((state.get("cfg") or {}).get("model"))
        if is_old or _is_own_model(model):
            state = {**state, "model": _upgraded_weights(state["model"], _class_of(model))}
    return state


def _sections(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a checkpoint that stores flat arguments."""
    for name, value in args.items():
        if not _is_plain(value):
            raise LotteryError(
                f"its argument {name} is {str(value)[:50]!r}; expected a plain value"
            )
    upgrade = _fairseq("checkpoint_utils")._upgrade_state_dict
    architectures = _fairseq("models").ARCH_MODEL_REGISTRY
    arch = str(args.get("arch"))
    if arch not in architectures:
        raise LotteryError(
            f"fairseq does not have its architecture {arch[:50]!r}; give the folder that"
            " registers it with --user-dir"
        )
    history = {"optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    extra_state = {"train_iterator": {"epoch": 1}}
    to_container = importlib.import_module("omegaconf").OmegaConf.to_container
    try:
        state = {"args": Namespace(**args), "extra_state": extra_state}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hydra warns about fairseq's calls
            cfg = upgrade({**state, "optimizer_history": [history]})["cfg"]
        return dict(to_container(cfg, resolve=True, enum_to_str=True))
    except Exception as error:  # noqa: BLE001 - the conversion may raise any error
        reason = " ".join(str(error).split())[:200]
        raise LotteryError(
            f"fairseq cannot convert its args ({reason}); load and save it with the fairseq that"
            " wrote it"
        ) from error


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(v) and not isinstance(v, (list, tuple)) for v in value)
    if isinstance(value, str):
        return _TEXT.fullmatch(value) is not None
    return value is None or isinstance(value, (bool, int, float))


def _is_own_model(model: Mapping[str, Any]) -> bool:
    """Return whether the settings of a model name a class of fairseq, or no class.

    Other classes may use names that only old versions of fairseq used, as
    ``torch.nn.MultiheadAttention`` does.
    """
    model_class = _class_of(model)
    return not (model.get("arch") or model.get("_name")) or (
        model_class is not None and model_class.__module__.startswith("fairseq.")
    )


def _class_of(model: Mapping[str, Any]) -> Optional[type]:
    """Return the class that the settings of a model name; None if fairseq does not have it."""
    arch = model.get("arch") or model.get("_name")
    found: Optional[type] = _fairseq("models").ARCH_MODEL_REGISTRY.get(str(arch))
    return found


def _has_old_names(weights: Mapping[str, Tensor]) -> bool:
    """Return whether fairseq would rename or split weights on loading."""
    return any(map(_OLD_NAME.search, weights))


def _upgraded_weights(
    weights: Mapping[str, Tensor], model_class: Optional[type]
) -> dict[str, Tensor]:
    """Return the weights of an old Transformer or RoBERTa under today's names."""
    upgraded = dict(weights)
    roberta = _fairseq("models.roberta").RobertaModel
    try:
        _split_attention(upgraded)
        if model_class is not None and issubclass(model_class, roberta):
            _rename_encoder(upgraded, roberta)
        else:
            _rename_layers(upgraded)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise LotteryError(f"fairseq cannot upgrade its weights ({error})") from error
    return upgraded


def _split_attention(weights: dict[str, Tensor]) -> None:
    attention = _fairseq("modules").MultiheadAttention
    fused = ".in_proj_weight"
    for module in [name[: -len(fused)] for name in weights if name.endswith(f"_attn{fused}")]:
        names = (f"{module}.in_proj_weight", f"{module}.in_proj_bias")
        part = {name: weights.pop(name) for name in names if name in weights}
        # this method of fairseq does not use its module
        attention.upgrade_state_dict_named(None, part, module)
        # safetensors refuses tensors that share memory
        weights.update((name, tensor.clone()) for name, tensor in part.items())


def _rename_layers(weights: dict[str, Tensor]) -> None:
    encoder_layer = _fairseq("modules.transformer_layer").TransformerEncoderLayerBase
    decoder = _fairseq("models.transformer").TransformerDecoderBase
    layers = {match.groups() for match in map(_LAYER.match, weights) if match}
    for side, number in layers:
        if side == "encoder":
            encoder_layer.upgrade_state_dict_named(None, weights, f"encoder.layers.{number}")
    count = 1 + max((int(number) for side, number in layers if side == "decoder"), default=-1)
    module = SimpleNamespace(num_layers=count, layers=[], embed_positions=None)
    module.share_input_output_embed = "decoder.embed_out" not in weights
    decoder.upgrade_state_dict_named(module, weights, "decoder")


def _rename_encoder(weights: dict[str, Tensor], roberta: Any) -> None:
    """Rename ``decoder.*`` to ``encoder.*``, as the first RoBERTa called its encoder."""
    model = roberta.__new__(roberta)  # without layers, so that only RoBERTa's own names change
    torch.nn.Module.__init__(model)
    # fairseq drops heads that the model does not have
    heads = [name for name in weights if name.startswith("classification_heads.")]
    kept = {name: weights.pop(name) for name in heads}
    model.upgrade_state_dict_named(weights, "")
    weights.update(kept)


def _fairseq(module: str) -> Any:
    imported = fairseq_module(module)
    if imported is None:
        raise LotteryError("its conversion requires fairseq; install it in this environment")
    return imported
