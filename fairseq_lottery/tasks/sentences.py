"""The dictionaries that a model translates with, and sentences to try it on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from fairseq.data.data_utils import infer_language_pair, load_indexed_dataset
from fairseq.utils import split_paths

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, read_text
from fairseq_lottery.tickets import Dictionaries, Source
from fairseq_lottery.tickets.dictionaries import read_dictionaries

logger = logging.getLogger(__name__)

#: fairseq's own symbols, in front of those of every dictionary
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
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
    """

    dictionaries: Dictionaries
    source: str
    target: str
    folder: Optional[Path]

    def write_dictionaries(self, folder: Path) -> None:
        """Write both as fairseq reads them; how often a symbol occurred is not known."""
        for language, symbols in (
            (self.source, self.dictionaries.source),
            (self.target, self.dictionaries.target),
        ):
            lines = (f"{symbol} 1 #fairseq:overwrite\n" for symbol in symbols)
            (folder / f"dict.{language}.txt").write_text("".join(lines), encoding="utf-8")


def text_of(source: Source, task: Mapping[str, Any], data: Optional[str], needed: bool) -> Text:
    """Find a model's dictionaries: in its file, or in its data folder.

    Args:
        source: the file.
        task: settings of its task, where the file holds them.
        data: a folder to take instead of the training's own.
        needed: whether sentences are taken from the folder.

    Raises:
        LotteryError: there are none, or the folder's are not those in the file.
    """
    languages = task.get("source_lang"), task.get("target_lang")
    folder = data or next(iter(split_paths(str(task.get("data") or ""))), "")
    if folder and not all(languages) and Path(folder).is_dir():
        languages = infer_language_pair(folder)
    found = all(languages) and is_plain(Path(folder) / f"dict.{languages[0]}.txt")
    if data and not found:
        raise LotteryError(
            f"--data {data} holds no dictionaries of the model's languages; name a folder that"
            " fairseq-preprocess wrote"
        )
    known = source.dictionaries
    if known is None and not found:
        raise LotteryError(
            f"{source.path} holds no dictionaries and its data folder is not here; give the folder"
            " with --data"
        )
    if not found or not (data or needed or known is None):
        assert known is not None
        # without a folder the names mean nothing
        return Text(known, str(languages[0] or "source"), str(languages[1] or "target"), None)
    in_folder = read_dictionaries(folder, str(languages[0]), str(languages[1]))
    if known is not None:
        known.refuse_other(in_folder, source.path)
    return Text(in_folder, str(languages[0]), str(languages[1]), Path(folder))


def sentences_of(text: Text, check_on: Optional[Union[str, Path]], most: int) -> list[list[str]]:
    """Source sentences as symbols, without ``</s>``.

    Args:
        check_on: a file, one sentence a line, its tokens between blanks; all of it is taken,
            and how many lines are blank is said.
            Without one, up to 100 sentences of the data folder's valid or test set, evenly
            spread.
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
    symbols = (*_SPECIAL, *text.dictionaries.source)
    for split in ("valid", "test"):
        prefix = f"{text.folder}/{split}.{text.source}-{text.target}.{text.source}"
        try:
            data = load_indexed_dataset(prefix, None) or ()
            fit = [index for index in range(len(data)) if 1 < len(data[index]) <= most]
            count = min(_MOST, len(fit))
            chosen = [data[fit[k * len(fit) // count]].tolist()[:-1] for k in range(count)]
            if chosen:
                return [[symbols[index] for index in sentence] for sentence in chosen]
        except Exception as error:  # noqa: BLE001 - damaged files raise whatever they like
            raise LotteryError(f"the sentences in {prefix}.bin cannot be read ({error})") from error
    return []
