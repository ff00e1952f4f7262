"""Read the settings that a checkpoint stores, and those of them that shape its model."""

from __future__ import annotations

import importlib
import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairseq_lottery.adapters import adapter_of
from fairseq_lottery.compat import fairseq_module
from fairseq_lottery.errors import LotteryError

#: setting of a model that lists the components cut out of it
CUT = "slim"
#: sections of a Transformer's configuration, and the classes that hold their defaults
_SECTIONS = {
    "encoder": "EncDecBaseConfig",
    "decoder": "DecoderConfig",
    "quant_noise": "QuantNoiseConfig",
}
#: settings of fairseq's Transformers, even if another section has the same name; the flags of
#: language tokens look like them
_KNOWN = re.compile(
    r"^(arch|_name|(encoder|decoder)_(?!langtok$).*|share_.*|activation_.*|.*dropout|adaptive_.*"
    r"|layernorm_embedding|no_.*embeddings?|no_cross_attention|cross_self_attention"
    r"|max_(source|target)_positions|tie_adaptive.*|no_scale_embedding)$"
)


@dataclass(frozen=True)
class Settings:
    """Settings of a checkpoint.

    Attributes:
        common, task, model, optimizer: sections of its configuration; empty if it stores none.
        architecture: flat arguments that shape its model.
    """

    common: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)


def read_settings(state: Mapping[str, Any]) -> Settings:
    """Return the settings in a checkpoint, which ``read_checkpoint`` has validated."""
    cfg = settings_of(state.get("cfg"))
    names = ("common", "task", "model", "optimizer")
    sections = {name: settings_of(cfg.get(name)) for name in names}
    return Settings(**sections, architecture=architecture_of(cfg))


def settings_of(part: Any) -> dict[str, Any]:
    """Return the settings in a Namespace, a mapping or a section of omegaconf.

    References of omegaconf stay unresolved: one to an environment variable would let the author of
    a file copy values of our environment into the record of a ticket.
    """
    if isinstance(part, Namespace):
        return vars(part)
    if is_omegaconf(part):
        try:
            to_container = importlib.import_module("omegaconf").OmegaConf.to_container
            part = to_container(part, resolve=False)
        except Exception as error:  # noqa: BLE001 - a section written by hand
            raise LotteryError(
                f"a section of the checkpoint's configuration is malformed ({error})"
            ) from error
    return dict(part or {})


def is_omegaconf(part: Any) -> bool:
    """Return whether a section is a container of omegaconf."""
    return type(part).__module__.startswith("omegaconf.")


def architecture_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat arguments that shape a model.

    ``fairseq-train`` stores all arguments of a training in the model section. Arguments of no other
    section belong to the model, including those of an architecture of the user. Sections of the old
    style (a task or criterion without a dataclass) also store all arguments: of these, strings
    belong to the model only if fairseq's models have this setting.

    Args:
        cfg: configuration in a checkpoint, or parts of it.
    """
    excluded, model = {*cfg, CUT}, settings_of(cfg.get("model"))
    own = re.compile(adapter_of(settings_of(cfg.get("task")).get("_name")).settings)
    for name, section in cfg.items():
        if name != "model" and isinstance(section, Mapping):
            excluded |= set(section)
        elif name != "model" and isinstance(section, Namespace):
            excluded |= {key for key in vars(section) if isinstance(model.get(key), str)}
    return {
        key: value
        for key, value in sorted(_flat(model).items())
        if _is_known(key, value, own) or (key not in excluded and _is_scalar(value))
    }


def _flat(model: Mapping[str, Any]) -> dict[str, Any]:
    """Replace sections by flat settings; fairseq ignores flat settings beside a section.

    hydra under fairseq 0.12.2 stores None for every setting that the user did not give, even if the
    default is a number. So None is skipped beside sections, and the architecture's default applies.
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
        values = _section_settings(name, section)
        flat.update({f"{name}_{key}": value for key, value in values.items()})
    return flat


def _section_settings(name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section of a Transformer's configuration with the defaults of fairseq's class.

    ``fairseq-hydra-train`` stores only the settings that the user gave. Without fairseq they are
    returned unchanged.
    """
    module = fairseq_module("models.transformer.transformer_config")
    if module is None:
        return dict(section)
    config = getattr(module, _SECTIONS[name])
    fields = {key for key in config.__dataclass_fields__ if not key.startswith("_")}
    defaults = vars(config(**{key: value for key, value in section.items() if key in fields}))
    return {**{key: value for key, value in defaults.items() if key in fields}, **section}


def _is_known(key: str, value: Any, own: re.Pattern[str]) -> bool:
    is_list = isinstance(value, list) and all(map(_is_scalar, value))
    is_name = _KNOWN.match(key) is not None or own.fullmatch(key) is not None
    return is_name and (is_list or _is_scalar(value))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, type(None)))
