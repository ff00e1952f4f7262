"""Binary data as sentence_prediction reads it: folders ``input0``, ``input1`` and ``label``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from preparation.binary import PREFIXES, preprocess
from preparation.classification.encoders import Encoder, encode_file


def cut(
    text: Path, folder: Path, inputs: int, sets: Mapping[str, int], encoder: Encoder, workers: int
) -> dict[str, int]:
    """Cut the inputs of all sets into subwords; return set and input -> number of subwords."""
    return {
        f"{name}.input{number}": encode_file(
            text / f"{name}.input{number}", folder / f"{name}.input{number}", encoder, workers
        )
        for name in sets
        for number in range(inputs)
    }


def binarise_inputs(
    pieces: Path, folder: Path, inputs: int, sets: Mapping[str, int], dictionary: Path, workers: int
) -> None:
    """Write ``input0`` and ``input1`` with the dictionary of the pre-trained model.

    Args:
        sets: name of a set, such as ``train`` or ``valid1`` -> number of its examples.

    Raises:
        LotteryError: fairseq-preprocess failed, or a set is not complete.
    """
    for number in range(inputs):
        _binarise(pieces, f"input{number}", folder, sets, dictionary, workers)


def binarise_labels(
    text: Path, folder: Path, sets: Mapping[str, int], labels: Mapping[str, int], workers: int
) -> None:
    """Write ``label`` with a dictionary of the labels in the order of the classes.

    fairseq's own script orders them by frequency, so that the numbers of classes depend on the
    data, and F1 on which class is more frequent.

    Args:
        sets: sets with labels -> number of their examples.
        labels: the labels in the order of the classes -> how many the training set has.
    """
    dictionary = folder / "label.txt"
    dictionary.write_text("".join(f"{name} {count}\n" for name, count in labels.items()))
    _binarise(text, "label", folder, sets, dictionary, workers)
    dictionary.unlink()


def copy_scores(text: Path, folder: Path, sets: Mapping[str, int]) -> None:
    """Write ``label/train.label`` and others: a number a line, which fairseq reads as text."""
    (folder / "label").mkdir()
    for name in sets:
        (folder / "label" / f"{name}.label").write_bytes((text / f"{name}.label").read_bytes())


def flags_of(classes: int) -> str:
    """Return the flags of a training that depend on the labels."""
    return f"--num-classes {classes}" + (" --regression-target" if classes == 1 else "")


def _binarise(
    texts: Path, kind: str, folder: Path, sets: Mapping[str, int], dictionary: Path, workers: int
) -> None:
    flags = ["--only-source", "--srcdict", str(dictionary), "--workers", str(workers)]
    flags += ["--destdir", str(folder / kind)]
    for split, flag in PREFIXES.items():
        names = [name for name in sets if name.rstrip("0123456789") == split]
        if names:
            flags += [flag, ",".join(str(texts / f"{name}.{kind}") for name in names)]
    log = folder.parent / f"preprocess-{kind}.log"
    preprocess(flags, folder / kind, dict(sets), log)


def described(classes: int, sets: Mapping[str, int], published: Optional[Mapping[str, int]]) -> str:
    """Return a line on the sets of a task, with published numbers if they differ."""
    words = []
    for name, count in sets.items():
        other = (published or {}).get(name, count)
        words.append(f"{name} {count:,}" + (f" (published: {other:,})" if other != count else ""))
    return ", ".join(words) + f"; {flags_of(classes)}"
