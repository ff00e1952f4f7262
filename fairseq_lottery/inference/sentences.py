"""The dictionaries that a model translates with, and sentences to try it on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.data.indexed_dataset import get_available_dataset_impl
from fairseq.tasks.translation import TranslationConfig, load_langpair_dataset

from fairseq_lottery.adapters.translation import languages_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text
from fairseq_lottery.formats import Dictionaries, Source, read_dictionaries

logger = logging.getLogger(__name__)

#: settings of fairseq's translation task that change the sentences which a model gets
_OPTIONS = (
    *("left_pad_source", "left_pad_target", "truncate_source"),
    *("max_source_positions", "max_target_positions"),
)
#: sentences out of a data folder
_MOST = 100
#: of a file of sentences in bytes
_LARGEST = 1 << 28


@dataclass(frozen=True)
class Text:
    """What a model reads and writes.

    Attributes:
        source, target: languages, as the data folder's files are called.
        folder: of ``fairseq-preprocess``; None where there is none, or it is not needed.
        options: how fairseq loads the sentences in it.
    """

    dictionaries: Dictionaries
    source: str
    target: str
    folder: Optional[Path]
    options: Mapping[str, Any]

    @property
    def fairseq_dictionaries(self) -> dict[str, Dictionary]:
        """The dictionaries ``source`` and ``target`` as fairseq has them."""
        return {side: dictionary(self.dictionaries[side]) for side in ("source", "target")}

    def write_dictionaries(self, folder: Path) -> None:
        """Write both as fairseq reads them; how often a symbol occurred is not known."""
        for language, symbols in (
            (self.source, self.dictionaries["source"]),
            (self.target, self.dictionaries["target"]),
        ):
            lines = (f"{symbol} 1 #fairseq:overwrite\n" for symbol in symbols)
            (folder / f"dict.{language}.txt").write_text("".join(lines), encoding="utf-8")


def text_of(source: Source, task: Mapping[str, Any], data: Optional[str], needed: bool) -> Text:
    """Find a model's dictionaries: in its file, or in its data folder.

    Args:
        task: settings of the model's task, where the file holds them.
        data: a folder to take instead of the training's own.
        needed: whether sentences are taken from the folder.

    Raises:
        LotteryError: there are none, or the folder's are not those in the file.
    """
    stored = source.in_file
    try:
        found = source.adapter.find_folder(task, data)
    except LotteryError as error:
        if data:
            raise LotteryError(
                f"--data {data}: {error}; name a folder that fairseq-preprocess wrote for the"
                " model's languages"
            ) from None
        if stored is None:
            raise LotteryError(
                f"the dictionaries of {source.path} are not known: {error}; give the data folder"
                " with --data"
            ) from None
        # without a folder the names mean nothing
        names = str(task.get("source_lang") or "source"), str(task.get("target_lang") or "target")
        return Text(stored, *names, None, {})
    languages = languages_of(found)
    if stored is not None and not (data or needed):
        return Text(stored, *languages, None, {})
    in_folder = read_dictionaries(found)
    if stored is not None:
        stored.refuse_other(in_folder, source.path)
    return Text(in_folder, *languages, found.path, _options(task))


def _options(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return how fairseq loads the sentences of a task: the task's own settings where valid."""
    defaults = {name: TranslationConfig.__dataclass_fields__[name].default for name in _OPTIONS}
    found = {name: task.get(name) for name in _OPTIONS}
    valid = {name: v for name, v in found.items() if type(v) is type(defaults[name])}
    kind = task.get("dataset_impl")
    known = get_available_dataset_impl()
    return {**defaults, **valid, "dataset_impl": kind if kind in known else None}


def load_pairs(text: Text, subset: str) -> Optional[LanguagePairDataset]:
    """Load a subset of the data folder as fairseq's translation task does, in the files' order.

    Returns None where there is no such subset.
    """
    source, target = text.fairseq_dictionaries.values()
    try:
        return load_langpair_dataset(
            str(text.folder), subset, text.source, source, text.target, target,
            combine=False, upsample_primary=1, shuffle=False, **text.options,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - corrupted files raise whatever they like
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LotteryError(
            f"the sentences called {subset} in {text.folder} cannot be read ({reason}); run"
            " fairseq-preprocess again"
        ) from error


def dictionary(symbols: tuple[str, ...]) -> Dictionary:
    """Return fairseq's dictionary of these symbols."""
    made = Dictionary()
    for symbol in symbols:
        made.add_symbol(symbol, overwrite=True)
    return made


def sentences_of(text: Text, check_on: Optional[Union[str, Path]], most: int) -> list[list[str]]:
    """Source sentences as symbols, without ``</s>``.

    Args:
        check_on: a file, one sentence a line, its tokens between blanks. Without one, up to 100
            sentences of the data folder's valid or test set are taken, evenly spread.
        most: tokens of a sentence that the model takes, ``</s>`` included.

    Raises:
        LotteryError: there are none, or one in ``check_on`` is longer.
    """
    found = _of_folder(text, most) if check_on is None else _of_file(check_on, most)
    if not found:
        where = text.folder if check_on is None else check_on
        raise LotteryError(f"{where or 'the file'} holds no sentences to try; give --check-on FILE")
    return found


def _of_file(path: Union[str, Path], most: int) -> list[list[str]]:
    try:
        lines = read_text(path, _LARGEST).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"--check-on {path} cannot be read: {reason}") from error
    sentences = [line.split() for line in lines]
    for number, sentence in enumerate(sentences, 1):
        if len(sentence) >= most:
            raise LotteryError(
                f"line {number} of {path} has {len(sentence)} tokens, the model takes {most - 1};"
                " take it out"
            )
    found = [sentence for sentence in sentences if sentence]
    blank = len(sentences) - len(found) - (not sentences[-1])  # after the last line end is none
    if blank:
        logger.warning("%d of the %d lines of %s are blank", blank, len(found) + blank, path)
    return found


def _of_folder(text: Text, most: int) -> list[list[str]]:
    if text.folder is None:
        raise LotteryError(
            "there is no data folder to take sentences from; give --data FOLDER, or --check-on FILE"
            " with a tokenised sentence a line"
        )
    for split in ("valid", "test"):
        data = load_pairs(text, split)
        if data is None:
            continue
        fit = [index for index, size in enumerate(data.src_sizes) if 1 < size <= most]
        count = min(_MOST, len(fit))
        chosen = [data.src[fit[k * len(fit) // count]].tolist()[:-1] for k in range(count)]
        if chosen:
            return [[data.src_dict[index] for index in sentence] for sentence in chosen]
    return []
