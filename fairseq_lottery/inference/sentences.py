"""Dictionaries of a translation model, and sentences to test it on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional, Union

from fairseq.data import (
    AppendTokenDataset,
    ConcatDataset,
    Dictionary,
    LanguagePairDataset,
    PrependTokenDataset,
)
from fairseq.data.indexed_dataset import get_available_dataset_impl
from fairseq.tasks.translation import TranslationConfig, load_langpair_dataset

from fairseq_lottery.adapters import PairTokens
from fairseq_lottery.adapters.translation import languages_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text
from fairseq_lottery.formats import Dictionaries, Source, read_dictionaries

logger = logging.getLogger(__name__)

#: settings of fairseq's translation task that change the sentences a model receives
_OPTIONS = (
    *("left_pad_source", "left_pad_target", "truncate_source"),
    *("max_source_positions", "max_target_positions"),
)
#: maximum number of sentences from a data folder
_MOST = 100
#: maximum size of a file of sentences in bytes
_LARGEST = 1 << 28


@dataclass(frozen=True)
class Text:
    """Languages, dictionaries and data folder of a translation model.

    Attributes:
        dictionaries: symbols of the model.
        pairs: pairs of languages, as in the names of the data folder's files.
        folder: data folder; None if it is missing or not needed.
        options: options with which fairseq loads sentences of the folder.
        tokens: pair -> symbols that the task adds to its sentences; empty if it adds none.
    """

    dictionaries: Dictionaries
    pairs: Sequence[tuple[str, str]]
    folder: Optional[Path]
    options: Mapping[str, Any]
    tokens: Mapping[tuple[str, str], PairTokens] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Source language of the first pair."""
        return self.pairs[0][0]

    @property
    def target(self) -> str:
        """Target language of the first pair."""
        return self.pairs[0][1]

    @property
    def names(self) -> list[str]:
        """Names of the pairs, such as ``en-de``."""
        return ["-".join(pair) for pair in self.pairs]

    def of_subset(self, subset: str) -> tuple[Text, str]:
        """Return the text of the pairs that ``subset`` selects, and the subset of the folder.

        For a model of several pairs, ``valid.en-de`` is the subset ``valid`` of one pair.
        """
        name, _, pair = subset.rpartition(".")
        if not self.tokens or not name or pair not in self.names:
            return self, subset
        return replace(self, pairs=[self.pairs[self.names.index(pair)]]), name

    @property
    def fairseq_dictionaries(self) -> dict[str, Dictionary]:
        """fairseq's dictionaries ``source`` and ``target``."""
        return {side: dictionary(self.dictionaries[side]) for side in ("source", "target")}

    def write_dictionaries(self, folder: Path) -> None:
        """Write both dictionaries in fairseq's format; counts of symbols are unknown."""
        for language, symbols in (
            (self.source, self.dictionaries["source"]),
            (self.target, self.dictionaries["target"]),
        ):
            lines = (f"{symbol} 1 #fairseq:overwrite\n" for symbol in symbols)
            (folder / f"dict.{language}.txt").write_text("".join(lines), encoding="utf-8")


def text_of(source: Source, data: Optional[str], needed: bool) -> Text:
    """Return the text of a model, with dictionaries from its file or its data folder.

    Args:
        data: data folder to use instead of the training's.
        needed: whether sentences of the folder are needed.

    Raises:
        LotteryError: there are no dictionaries, or those of the folder and the file differ.
    """
    stored, task, adapter = source.own_dictionaries, source.settings.task, source.adapter
    if needed and adapter.pair_tokens is not None and not task:
        raise LotteryError(
            f"{source.path} is a {source.kind} without settings of the task {adapter.name}, which"
            " sentences require; give a checkpoint"
        )
    try:
        folder = adapter.find_folder(task, data)
        pairs = adapter.pairs(task) if adapter.pairs is not None else [languages_of(folder)]
    except LotteryError as error:
        if data:
            raise LotteryError(
                f"--data {data}: {error}; give a folder that fairseq-preprocess wrote for the"
                " model's languages"
            ) from None
        if stored is None:
            raise LotteryError(
                f"the dictionaries of {source.path} are unknown: {error}; give the data folder with"
                " --data"
            ) from None
        # without a folder the languages are only labels
        names = str(task.get("source_lang") or "source"), str(task.get("target_lang") or "target")
        return Text(stored, [names], None, {})
    if stored is not None and not (data or needed):
        return Text(stored, pairs, None, {})
    in_folder = read_dictionaries(folder)
    if stored is not None:
        stored.refuse_other(in_folder, source.path)
    tokens = {}
    if adapter.pair_tokens is not None:
        tokens = {pair: adapter.pair_tokens(task, *pair) for pair in pairs}
    return Text(in_folder, pairs, folder.path, _options(task), tokens)


def _options(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with which fairseq loads sentences: the task's, or defaults if invalid."""
    defaults = {name: TranslationConfig.__dataclass_fields__[name].default for name in _OPTIONS}
    settings = {name: _as_truth(task.get(name)) for name in _OPTIONS}
    valid = {name: v for name, v in settings.items() if type(v) is type(defaults[name])}
    kind = task.get("dataset_impl")
    is_known = kind in get_available_dataset_impl()
    return {**defaults, **valid, "dataset_impl": kind if is_known else None}


def _as_truth(value: Any) -> Any:
    """Return a truth value that the multilingual task writes as a word, or the value itself."""
    return {"True": True, "False": False}.get(value, value) if isinstance(value, str) else value


def load_pairs(text: Text, subset: str) -> Optional[LanguagePairDataset]:
    """Load a subset of the data folder as fairseq's task does, in the files' order.

    Sentences of several pairs follow each other in the order of the pairs. Return None if the
    folder lacks the subset.
    """
    text, subset = text.of_subset(subset)
    loaded = {pair: _load_pair(text, subset, pair) for pair in text.pairs}
    pairs = {pair: data for pair, data in loaded.items() if data is not None}
    if not text.tokens or not pairs:
        return next(iter(pairs.values()), None)
    sides: dict[str, list[Any]] = {"source": [one.src for one in pairs.values()]}
    if all(one.tgt is not None for one in pairs.values()):
        sides["target"] = [one.tgt for one in pairs.values()]
    dictionaries = text.fairseq_dictionaries
    for side, sentences in sides.items():
        sides[side] = [
            _with_tokens(one, text.tokens[pair], side, dictionaries[side])
            for pair, one in zip(pairs, sentences)
        ]
    whole = {
        side: sentences[0] if len(sentences) == 1 else ConcatDataset(sentences)
        for side, sentences in sides.items()
    }
    source, target = whole["source"], whole.get("target")
    starts = {text.tokens[pair].after.get("target") for pair in pairs}
    (start,) = starts  # a task with such tokens has one pair
    return LanguagePairDataset(
        source, source.sizes, dictionaries["source"],
        target, None if target is None else target.sizes, dictionaries["target"],
        left_pad_source=text.options["left_pad_source"],
        left_pad_target=text.options["left_pad_target"],
        shuffle=False, eos=None if start is None else dictionaries["target"].index(start),
    )  # fmt: skip


def _with_tokens(sentences: Any, tokens: PairTokens, side: str, symbols: Dictionary) -> Any:
    """Return sentences with the tokens of their pair."""
    if side in tokens.before:
        sentences = PrependTokenDataset(sentences, symbols.index(tokens.before[side]))
    if side in tokens.after:
        sentences = AppendTokenDataset(sentences, symbols.index(tokens.after[side]))
    return sentences


def _load_pair(text: Text, subset: str, pair: tuple[str, str]) -> Optional[LanguagePairDataset]:
    source, target = text.fairseq_dictionaries.values()
    try:
        return load_langpair_dataset(
            str(text.folder), subset, pair[0], source, pair[1], target,
            combine=False, upsample_primary=1, shuffle=False, **text.options,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - corrupted files raise any error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LotteryError(
            f"the subset {subset} in {text.folder} cannot be read ({reason}); run"
            " fairseq-preprocess again"
        ) from error


def dictionary(symbols: tuple[str, ...]) -> Dictionary:
    """Return fairseq's dictionary of ``symbols``."""
    result = Dictionary()
    for symbol in symbols:
        result.add_symbol(symbol, overwrite=True)
    return result


def sentences_of(text: Text, check_on: Optional[Union[str, Path]], most: int) -> list[list[str]]:
    """Return source sentences as symbols without ``</s>``.

    Args:
        check_on: file with one tokenised sentence per line. Without it, up to 100 evenly spread
            sentences of the data folder's valid or test set are used.
        most: limit of the model in tokens, ``</s>`` included.

    Raises:
        LotteryError: there are no sentences, or one in ``check_on`` exceeds the limit.
    """
    sentences = _read_folder(text, most) if check_on is None else _read_file(check_on, most)
    if not sentences:
        path = text.folder if check_on is None else check_on
        raise LotteryError(f"{path or 'the file'} has no sentences; give --check-on FILE")
    return sentences


def _read_file(path: Union[str, Path], most: int) -> list[list[str]]:
    try:
        lines = read_text(path, _LARGEST).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"--check-on {path} cannot be read: {reason}") from error
    sentences = [line.split() for line in lines]
    for number, sentence in enumerate(sentences, 1):
        if len(sentence) >= most:
            raise LotteryError(
                f"line {number} of {path} has {len(sentence)} tokens, expected at most {most - 1};"
                " remove it"
            )
    filled = [sentence for sentence in sentences if sentence]
    blank = len(sentences) - len(filled) - (not sentences[-1])  # no line follows the last line end
    if blank:
        logger.warning("%d of the %d lines of %s are blank", blank, len(filled) + blank, path)
    return filled


def _read_folder(text: Text, most: int) -> list[list[str]]:
    if text.folder is None:
        raise LotteryError(
            "there is no data folder with sentences; give --data FOLDER, or --check-on FILE with"
            " one tokenised sentence per line"
        )
    for split in ("valid", "test"):
        data = load_pairs(text, split)
        if data is None:
            continue
        fitting = [index for index, size in enumerate(data.src_sizes) if 1 < size <= most]
        count = min(_MOST, len(fitting))
        numbers = [fitting[k * len(fitting) // count] for k in range(count)]
        sentences = [data.src[number].tolist()[:-1] for number in numbers]
        if sentences:
            return [[data.src_dict[index] for index in sentence] for sentence in sentences]
    return []
