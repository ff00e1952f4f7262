"""fairseq's tasks whose dictionaries contain a token for each language.

``translation_multi_simple_epoch`` trains one model on many pairs of languages, and
``translation_from_pretrained_bart`` fine-tunes a model like mBART on one pair.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters.adapter import PairTokens, TaskAdapter, register_adapter
from fairseq_lottery.adapters.translation import TRANSLATION
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text

#: value of ``--lang-tok-style`` -> token of a language
TOKENS = {"multilingual": "__{}__", "mbart": "[{}]"}
_MASK = "<mask>"
#: maximum size in bytes of a file with languages
_LARGEST = 1 << 16


def names_in(value: Any) -> list[str]:
    """Return the names in a setting: text with commas from our tasks, a list from fairseq's."""
    names = value.split(",") if isinstance(value, str) else value
    return [str(name) for name in names] if isinstance(names, Sequence) else []


def pairs_of(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs of languages in the settings of a task, as (source, target).

    Raises:
        LotteryError: there are none, or one is malformed.
    """
    pairs = [tuple(name.split("-")) for name in names_in(settings.get("lang_pairs"))]
    if not pairs or not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise LotteryError(
            f"the settings of the task have the pairs {str(settings.get('lang_pairs'))[:50]},"
            " expected names such as en-de,en-fr"
        )
    return [(source, target) for source, target in pairs]


def languages_in(settings: Mapping[str, Any]) -> list[str]:
    """Return the languages of a multilingual task in order, as fairseq infers them.

    Raises:
        LotteryError: they are unknown.
    """
    if settings.get("lang_dict"):
        path = str(settings["lang_dict"])
        try:
            _refuse_other_ending(path)
            return [line.strip() for line in read_text(path, _LARGEST).split("\n") if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise LotteryError(f"--lang-dict {path} cannot be read: {error}") from error
    if settings.get("langs"):
        return names_in(settings["langs"])
    return sorted({language for pair in pairs_of(settings) for language in pair})


def added_tokens(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the symbols that ``translation_multi_simple_epoch`` adds to each dictionary."""
    style = str(settings.get("lang_tok_style") or "multilingual")
    if style not in TOKENS:
        raise LotteryError(
            f"the language tokens have the style {style[:50]!r}; choose one of {', '.join(TOKENS)}"
        )
    specs = names_in(settings.get("langtoks_specs") or "main")
    tokens = [
        TOKENS[style].format(language + _data_suffix(spec))
        for spec in specs
        for language in languages_in(settings)
    ]
    extra = settings.get("extra_data")
    is_denoised = "mono_dae" in (extra if isinstance(extra, (Mapping, str)) else ())
    return (*tokens, *([_MASK] if style == "mbart" or is_denoised else []))


def tokens_of_pair(settings: Mapping[str, Any], source: str, target: str) -> PairTokens:
    """Return the tokens that ``translation_multi_simple_epoch`` puts before sentences.

    Raises:
        LotteryError: the tokens replace ``</s>``, or are described by a malformed setting.
    """
    if settings.get("lang_tok_replacing_bos_eos") is True:
        raise LotteryError(
            "--lang-tok-replacing-bos-eos is supported by fairseq's commands only; evaluate with"
            " fairseq-validate or fairseq-generate"
        )
    specs = _specs(settings.get("langtoks"))
    if specs is None:
        decoder = "tgt" if settings.get("decoder_langtok") is True else None
        specs = settings.get("encoder_langtok"), decoder
    style = TOKENS[str(settings.get("lang_tok_style") or "multilingual")]
    before = {}
    for side, spec in zip(("source", "target"), specs):
        if spec:
            is_source = side == "source" and str(spec).startswith("src")
            language = source if is_source else target
            before[side] = style.format(language + _data_suffix(str(spec)))
    return PairTokens(before)


def _specs(value: Any) -> Optional[Sequence[Any]]:
    """Return the kinds of tokens of sources and targets in ``--langtoks``; None by default."""
    try:
        by_data = ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        by_data = value
    specs = by_data.get("main") if isinstance(by_data, Mapping) else None
    if by_data is None or (isinstance(by_data, Mapping) and specs is None):
        return None
    if not isinstance(specs, Sequence) or len(specs) != 2:
        raise LotteryError(
            f"the settings of the task have langtoks {str(value)[:50]!r}, expected a mapping such"
            ' as {"main": ("src", "tgt")}'
        )
    return specs


def mbart_tokens_of_pair(settings: Mapping[str, Any], source: str, target: str) -> PairTokens:
    """Return the tokens that ``translation_from_pretrained_bart`` adds to sentences."""
    sides = {"source": source, "target": target}
    before = dict.fromkeys(sides, "<s>") if settings.get("prepend_bos") is True else {}
    return PairTokens(before, {side: TOKENS["mbart"].format(name) for side, name in sides.items()})


def _data_suffix(spec: str) -> str:
    """Return what fairseq appends to a language for a kind of data, such as ``_dae``."""
    kinds = [kind for kind in ("dae", "mined") if spec.endswith(kind)]
    return f"_{kinds[0]}" if kinds else ""


def dictionary_files(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the dictionaries of the first pair; all sources share one, and so do all targets.

    ``--source-dict``, ``--target-dict`` and ``--fixed-dictionary`` name files. If such a file is
    missing, as on another machine, a file of the same name in the folder replaces it.
    """
    if settings.get("source_lang") and settings.get("target_lang"):
        first = str(settings["source_lang"]), str(settings["target_lang"])
    else:
        first = pairs_of(settings)[0]
    files = {}
    for side, language in zip(("source", "target"), first):
        name = settings.get(f"{side}_dict") or settings.get("fixed_dictionary")
        files[side] = f"dict.{language}.txt" if not name else _file(folder, str(name))
    return files


def _file(folder: Path, name: str) -> str:
    _refuse_other_ending(name)
    path = Path(name)
    return str(path.absolute()) if path.exists() else path.name


def _refuse_other_ending(name: str) -> None:
    """Refuse a file that is not a text, because the settings may come from an untrusted file."""
    if not name.endswith(".txt"):
        raise LotteryError(f"the settings of the task name the file {name[:200]}, expected *.txt")


def added_mbart_tokens(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the symbols that ``translation_from_pretrained_bart`` adds to each dictionary.

    The task of the pre-training, ``multilingual_denoising``, may have no tokens of languages.
    """
    if settings.get("add_lang_token") is False:
        return (_MASK,)
    languages = names_in(settings.get("langs"))
    if not languages:
        raise LotteryError("the settings of the task have no languages; give --langs")
    return (*map(TOKENS["mbart"].format, languages), _MASK)


MULTILINGUAL = register_adapter(
    TaskAdapter(
        name="translation_multi_simple_epoch",
        vocabularies={
            name: replace(vocabulary, added=added_tokens)
            for name, vocabulary in TRANSLATION.vocabularies.items()
        },
        stacks=TRANSLATION.stacks,
        dictionary_files=dictionary_files,
        data_flags={"pairs": "--lang-pairs", "languages": "--langs"},
        translates=True,
        pairs=pairs_of,
        pair_tokens=tokens_of_pair,
    )
)

PRETRAINED_BART = register_adapter(
    replace(
        TRANSLATION,
        name="translation_from_pretrained_bart",
        vocabularies={
            name: replace(vocabulary, added=added_mbart_tokens)
            for name, vocabulary in TRANSLATION.vocabularies.items()
        },
        data_flags={**TRANSLATION.data_flags, "languages": "--langs"},
        preprocessing=None,
        pair_tokens=mbart_tokens_of_pair,
    )
)
