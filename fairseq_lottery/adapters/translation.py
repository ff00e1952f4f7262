"""fairseq's ``translation``: pairs of sentences, with a source and a target dictionary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters.adapter import (
    DataFolder,
    Preprocessing,
    Stack,
    TaskAdapter,
    Vocabulary,
    register_adapter,
)
from fairseq_lottery.errors import LotteryError

_FILE = "dict.{}.txt"


def infer_languages(folder: Path) -> Optional[tuple[str, str]]:
    """Infer the language pair of a data folder from its file names, as fairseq does.

    Returns:
        Source and target; None if no file is named SPLIT.SOURCE-TARGET.LANG.

    Raises:
        LotteryError: the folder cannot be read.
    """
    from fairseq_lottery.compat import fairseq_module  # imports torch, unlike planning

    data = fairseq_module("data")
    try:
        if data is not None:
            source, target = data.data_utils.infer_language_pair(str(folder))
        else:
            names = (path.name.split(".") for path in sorted(folder.iterdir()))
            pairs = (name[1].split("-") for name in names if len(name) >= 3)
            source, target = next((pair for pair in pairs if len(pair) == 2), (None, None))
    except OSError as error:
        raise LotteryError(f"the data folder {folder} cannot be read: {error.strerror}") from error
    return (source, target) if source and target else None


def dictionary_files(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of both dictionaries, by the languages in settings or file names.

    Raises:
        LotteryError: the languages cannot be inferred.
    """
    languages = settings.get("source_lang"), settings.get("target_lang")
    if not all(languages):
        inferred = infer_languages(folder)
        if inferred is None:
            raise LotteryError(f"the data folder {folder} has no file SPLIT.SOURCE-TARGET.LANG")
        languages = inferred
    return {side: _FILE.format(name) for side, name in zip(("source", "target"), languages)}


def languages_of(folder: DataFolder) -> tuple[str, str]:
    """Return source and target language in the file names of a data folder."""
    source, target = (
        re.sub(r"^dict\.|\.txt$", "", folder.files[side]) for side in ("source", "target")
    )
    return source, target


TRANSLATION = register_adapter(
    TaskAdapter(
        name="translation",
        vocabularies={
            "source": Vocabulary(("source_dictionary",), "encoder.embed_tokens.weight"),
            "target": Vocabulary(("target_dictionary",), "decoder.embed_tokens.weight"),
        },
        stacks={
            "encoder": Stack("encoder", "max_source_positions"),
            "decoder": Stack("decoder", "max_target_positions"),
        },
        dictionary_files=dictionary_files,
        data_flags={"source": "--source-lang", "target": "--target-lang"},
        preprocessing=Preprocessing(
            ("train", "valid", "test"), ("--srcdict", "--tgtdict"), infer=infer_languages
        ),
        translates=True,
    )
)
