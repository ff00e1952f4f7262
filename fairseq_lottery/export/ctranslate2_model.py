"""A CTranslate2 model out of a file of ours, and the proof that it translates as fairseq does.

CTranslate2's own converter does the work. It loads pickles and builds what they describe, so it
never sees the file that was given: that goes through the safe loader, and a checkpoint that is
written here, in a private folder, is converted.
"""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import torch
from fairseq.models import ARCH_MODEL_NAME_REGISTRY

from fairseq_lottery.compat import allow_fairseq_checkpoints
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.export.ctranslate2_translator import load_translator
from fairseq_lottery.export.translation_agreement import TOLERANCE, Agreement, compare
from fairseq_lottery.extensions import components
from fairseq_lottery.files.folders import replacing_folder
from fairseq_lottery.formats import Source, read_source
from fairseq_lottery.formats.checkpoints.cut_model import has_cut
from fairseq_lottery.inference.loaded_model import built, stored_weights
from fairseq_lottery.inference.model_builder import arguments_of
from fairseq_lottery.inference.sentences import Text, sentences_of, text_of

#: models of fairseq's that its translation task trains and CTranslate2 knows
_MODELS = ("transformer", "transformer_align")
#: what stores weights in IEEE's half precision
_HALF = ("float16", "int8_float16")
#: a file that every CTranslate2 model has
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
        out: the folder; its parent exists.
        quantization: what CTranslate2 stores weights as, such as ``int8``; None for float32.
        data: folder of ``fairseq-preprocess`` instead of the one that the training had.
        check_on: file of source sentences to translate with both, instead of the data's.

    Returns:
        How far CTranslate2 and fairseq agree: in float32 to rounding; of quantized weights
        nothing is asked.

    Raises:
        LotteryError: what CTranslate2 cannot represent, or translates otherwise than fairseq;
            then there is nothing new at ``out``.
    """
    with replacing_folder(out, _MARKER, overwrite) as (new, private):
        source = read_source(path)
        source.adapter.refuse_unless_translating(path, "--to ctranslate2")
        source.refuse_leaks()
        weights, task, settings = stored_weights(source)
        text = text_of(source, task, data, check_on is None)
        name = ARCH_MODEL_NAME_REGISTRY.get(arguments_of(source).arch)
        if name not in _MODELS:
            raise LotteryError(
                f"CTranslate2 does not know the model of {path} ({name}), Transformers only;"
                " translate with fairseq"
            )
        dictionaries = text.fairseq_dictionaries
        model = built(source, weights, dictionaries)
        sides = dictionaries["source"], dictionaries["target"]
        if has_cut(settings):
            components().refuse_other_model(model, settings)
        if quantization in _HALF:
            _refuse_large(model, quantization)
        sentences = sentences_of(text, check_on, model.max_positions()[0])
        arguments = _write_model(source, model, text, private)

        def converted(kind: Optional[str], folder: Path) -> Agreement:
            try:
                converter = converter_of(private, arguments, settings)
                converter.convert(str(folder), quantization=kind, force=True)
            except Exception as error:  # noqa: BLE001 - what it does not know it meets as any error
                known = isinstance(error, (ValueError, NotImplementedError))
                reason = _line(error) if known else f"its converter fails on it ({_line(error)})"
                raise LotteryError(
                    f"CTranslate2 cannot represent the model of {path}: {reason}; translate with"
                    " fairseq"
                ) from error
            translator = load_translator(folder, kind, torch.get_num_threads())
            try:
                return compare(model, *sides, translator, sentences, kind is None)
            except Exception as error:  # noqa: BLE001 - whatever a model's own code raises
                raise LotteryError(
                    f"the model of {path} cannot be made to translate: {_line(error)}"
                ) from error

        found = converted(None, private / "exact" if quantization else new)
        if not found.is_exact:
            raise LotteryError(
                f"CTranslate2 does not represent the model of {path}: a token's log-probability"
                f" differs from fairseq's by up to {found.worst:.1e} ({TOLERANCE:.0e} is allowed),"
                f" {found.other} of {found.sentences} translations by more than rounding; nothing"
                " is written, translate with fairseq"
            )
        if quantization:
            found = converted(quantization, new)
    return found


def _refuse_large(model: Any, quantization: str) -> None:
    for name, parameter in model.named_parameters():
        if float(parameter.detach().abs().max()) > torch.finfo(torch.float16).max:
            raise LotteryError(
                f"{name} has weights that {quantization} does not hold; give another --quantization"
            )


def _write_model(source: Source, model: Any, text: Text, folder: Path) -> Namespace:
    """Write dictionaries and ``model.pt`` for the converter; return the model's settings."""
    text.write_dictionaries(folder)
    arguments = arguments_of(source)
    arguments.task = "translation"
    arguments.source_lang, arguments.target_lang = text.source, text.target
    # of a layer that is not there, CTranslate2 dies; no translation needs alignments
    arguments.alignment_layer, arguments.alignment_heads = -1, 0
    # the converter takes no model whose sides have other numbers of heads: see ``converter_of``
    alike = Namespace(**vars(arguments))
    alike.decoder_attention_heads = arguments.encoder_attention_heads
    torch.save({"args": alike, "model": model.state_dict()}, folder / "model.pt")
    allow_fairseq_checkpoints()  # so that torch's safe loader takes the arguments
    return arguments


def converter_of(folder: Path, arguments: Namespace, settings: Any) -> Any:
    """Return CTranslate2's converter of ``model.pt``, with what it leaves of its own format.

    Args:
        folder: of the model, whole, with zeros where something was cut out, and the dictionaries.
        arguments: of the model, with the heads of each attention in the encoder and the decoder.
        settings: of the model, which may say what was cut out of it.
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
    """What an exception says, in one line, without CTranslate2's preamble."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^The model you are trying .* following reasons: - ", "", text)[:300]
