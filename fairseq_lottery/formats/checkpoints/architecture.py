"""The settings that shape a model, out of the configuration of its training."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from fairseq_lottery.adapters import adapter_of
from fairseq_lottery.formats.checkpoints.checkpoint import settings_of
from fairseq_lottery.formats.checkpoints.cut_model import CUT
from fairseq_lottery.formats.checkpoints.legacy_layouts import section_settings

#: of fairseq's Transformers, whichever other section has a setting of the same name
_KNOWN = re.compile(
    r"^(arch|_name|encoder_.*|decoder_.*|share_.*|activation_.*|.*dropout|adaptive_.*"
    r"|layernorm_embedding|no_.*embeddings?|no_cross_attention|cross_self_attention"
    r"|max_(source|target)_positions|tie_adaptive.*|no_scale_embedding)$"
)


def architecture_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that shape a model, flat, out of a training's configuration.

    ``fairseq-train`` stores all arguments of a training as the model's. Those of no other section
    are the model's own, including those that the architecture of a user defines. Parts of the old
    style (a task or a criterion without a dataclass) store all arguments as well: of these, texts
    are taken for the model's only where fairseq's models have such a setting.

    Args:
        cfg: as checkpoints hold it, or as much of it as there is.
    """
    others, model = {*cfg, CUT}, settings_of(cfg.get("model"))
    own = re.compile(adapter_of(settings_of(cfg.get("task")).get("_name")).settings)
    for name, section in cfg.items():
        if name != "model" and isinstance(section, Mapping):
            others |= set(section)
        elif name != "model" and isinstance(section, Namespace):
            others |= {key for key in vars(section) if isinstance(model.get(key), str)}
    return {
        key: value
        for key, value in sorted(_flat(model).items())
        if _is_known(key, value, own) or (key not in others and _is_scalar(value))
    }


def _flat(model: Mapping[str, Any]) -> dict[str, Any]:
    """Replace sections by flat settings; fairseq ignores flat ones beside a section.

    hydra under fairseq 0.12.2 stores None for whatever the user left out, also where the default
    is a number. So None is left out beside sections, and the architecture gives its default.
    """
    sections = {
        name: model[name]
        for name in ("encoder", "decoder", "quant_noise")
        if isinstance(model.get(name), Mapping)
    }
    flat = {
        key: value
        for key, value in model.items()
        if isinstance(key, str) and not (sections and value is None)
    }
    for name, section in sections.items():
        flat = {key: value for key, value in flat.items() if not key.startswith(f"{name}_")}
        del flat[name]
        values = section_settings(name, section)
        flat.update({f"{name}_{key}": value for key, value in values.items()})
    return flat


def _is_known(key: str, value: Any, own: re.Pattern[str]) -> bool:
    is_list = isinstance(value, list) and all(map(_is_scalar, value))
    is_name = _KNOWN.match(key) is not None or own.fullmatch(key) is not None
    return is_name and (is_list or _is_scalar(value))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, type(None)))
