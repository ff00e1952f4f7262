"""Conversion to a CTranslate2 model, with a check that it translates as fairseq does.

CTranslate2's own converter unpickles a checkpoint and builds its model, which may run code. So the
converter never reads the user's file: the safe loader reads it, and this module writes a new
checkpoint for the converter into a private folder.
"""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import torch
from fairseq.models import ARCH_MODEL_NAME_REGISTRY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.export.ctranslate2_translator import load_translator
from fairseq_lottery.export.translation_agreement import TOLERANCE, Agreement, compare
from fairseq_lottery.extensions import components
from fairseq_lottery.files.folders import replacing_folder
from fairseq_lottery.formats import Source, read_source
from fairseq_lottery.formats.checkpoints.cut_model import has_cut
from fairseq_lottery.formats.checkpoints.safe_load import allow_fairseq_checkpoints
from fairseq_lottery.inference.loaded_model import build_with_weights, stored_weights
from fairseq_lottery.inference.model_builder import arguments_of
from fairseq_lottery.inference.sentences import Text, sentences_of, text_of

#: fairseq models that its translation task trains and CTranslate2 supports
_MODELS = ("transformer", "transformer_align")
#: quantizations that store weights in IEEE half precision
_HALF = ("float16", "int8_float16")
#: file that every CTranslate2 model has
_MARKER = "model.bin"


def deploy(
    path: Union[str, Path],
    out: Union[str, Path],
    quantization: Optional[str] = None,
    data: Optional[str] = None,
    check_on: Optional[str] = None,
    overwrite: bool = False,
) -> Agreement:
    """Write the model of a checkpoint, compact file, ticket or snapshot as a CTranslate2 folder.

    Args:
        path: file of the model.
        out: folder to write; its parent must exist.
        quantization: CTranslate2's type of weights, such as ``int8``; None for float32.
        data: data folder to use instead of the training's.
        check_on: file of source sentences for the check; None for sentences of the data folder.
        overwrite: whether to replace an existing CTranslate2 model at ``out``.

    Returns:
        Agreement of CTranslate2 and fairseq. In float32 they must agree up to rounding; quantized
        weights may differ.

    Raises:
        LotteryError: CTranslate2 cannot represent the model, or its translations differ. Then
            ``out`` is unchanged.
    """
    with replacing_folder(out, _MARKER, overwrite) as (new, private):
        source = read_source(path)
        source.adapter.refuse_unless_translating(path, "--to ctranslate2")
        source.adapter.refuse_language_tokens(path, "--to ctranslate2")
        source.refuse_leaks()
        weights, settings = stored_weights(source), source.settings.model
        text = text_of(source, data, check_on is None)
        name = ARCH_MODEL_NAME_REGISTRY.get(arguments_of(source).arch)
        if name not in _MODELS:
            raise LotteryError(
                f"CTranslate2 does not support the model of {path} ({name}), only Transformers;"
                " translate with fairseq"
            )
        dictionaries = text.fairseq_dictionaries
        model = build_with_weights(source, weights, dictionaries)
        sides = dictionaries["source"], dictionaries["target"]
        if has_cut(settings):
            components().refuse_other_model(model, settings)
        if quantization in _HALF:
            _refuse_large(model, quantization)
        sentences = sentences_of(text, check_on, model.max_positions()[0])
        arguments = _write_model(source, model, text, private)

        def convert(kind: Optional[str], folder: Path) -> Agreement:
            try:
                converter = converter_of(private, arguments, settings)
                converter.convert(str(folder), quantization=kind, force=True)
            except Exception as error:  # noqa: BLE001 - unsupported models raise any error
                is_clear = isinstance(error, (ValueError, NotImplementedError))
                reason = _line(error) if is_clear else f"its converter fails ({_line(error)})"
                raise LotteryError(
                    f"CTranslate2 cannot represent the model of {path}: {reason}; translate with"
                    " fairseq"
                ) from error
            translator = load_translator(folder, kind, torch.get_num_threads())
            try:
                return compare(model, *sides, translator, sentences, kind is None)
            except Exception as error:  # noqa: BLE001 - a model's code raises any error
                raise LotteryError(
                    f"the model of {path} fails to translate: {_line(error)}"
                ) from error

        agreement = convert(None, private / "exact" if quantization else new)
        if not agreement.is_exact:
            raise LotteryError(
                f"CTranslate2 does not represent the model of {path}: a token's log-probability"
                f" differs from fairseq's by up to {agreement.worst:.1e} (allowed: {TOLERANCE:.0e})"
                f", and {agreement.unexplained} of {agreement.sentences} translations differ by"
                " more than rounding; nothing was written, translate with fairseq"
            )
        if quantization:
            agreement = convert(quantization, new)
    return agreement


def _refuse_large(model: Any, quantization: str) -> None:
    for name, parameter in model.named_parameters():
        if float(parameter.detach().abs().max()) > torch.finfo(torch.float16).max:
            raise LotteryError(
                f"{name} has weights that exceed the range of {quantization}; give another"
                " --quantization"
            )


def _write_model(source: Source, model: Any, text: Text, folder: Path) -> Namespace:
    """Write dictionaries and ``model.pt`` for the converter; return the model's settings."""
    text.write_dictionaries(folder)
    arguments = arguments_of(source)
    arguments.task = "translation"
    arguments.source_lang, arguments.target_lang = text.source, text.target
    # CTranslate2 crashes on a missing alignment layer; translation does not need alignments
    arguments.alignment_layer, arguments.alignment_heads = -1, 0
    # the converter rejects models whose encoder and decoder differ in heads: see ``converter_of``
    saved = Namespace(**vars(arguments))
    saved.decoder_attention_heads = arguments.encoder_attention_heads
    torch.save({"args": saved, "model": model.state_dict()}, folder / "model.pt")
    allow_fairseq_checkpoints()  # torch's safe loader must accept the Namespace of arguments
    return arguments


def converter_of(folder: Path, arguments: Namespace, settings: Any) -> Any:
    """Return a converter of ``model.pt`` that also sets the heads and cuts the model.

    Args:
        folder: folder with the model at full size, with zeros for cut components, and the
            dictionaries.
        arguments: settings of the model, with the heads of the encoder and the decoder.
        settings: stored settings of the model, which may record a cut.
    """
    from ctranslate2.converters import FairseqConverter

    class OwnHeads(FairseqConverter):
        def _load(self) -> Any:
            spec = super()._load()
            spec.encoder.num_heads = np.int16(arguments.encoder_attention_heads)
            spec.decoder.num_heads = np.int16(arguments.decoder_attention_heads)
            if has_cut(settings):
                components().narrow(spec, settings)
            return spec

    return OwnHeads(str(folder / "model.pt"), str(folder))


def _line(error: Exception) -> str:
    """Return the message of an exception in one line, without CTranslate2's preamble."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^The model you are trying .* following reasons: - ", "", text)[:300]
