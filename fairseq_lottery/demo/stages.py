"""Create the folders of the demo with commands, one after the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing

#: file that says which data a folder has
DATA = "log/data"


def open_folder(out: Path, data: str = "") -> None:
    """Create the folder of a demo.

    Args:
        data: kind and seed of the data; "" for the language pair, whose configuration has them.

    Raises:
        LotteryError: it has other files or other data, or cannot be created.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "log").is_dir()):
        raise LotteryError(f"{out} exists but is not a folder of this demo; choose another --out")
    try:
        (out / "log").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LotteryError(
            f"{out} cannot be created ({error.strerror}); choose another --out"
        ) from error
    marker = out / DATA
    if data and not marker.exists() and not any((out / "log").iterdir()):
        with replacing(marker) as path:
            path.write_text(f"{data}\n", encoding="utf-8")
    found = marker.read_text(encoding="utf-8").strip() if marker.exists() else ""
    if found != data:
        raise LotteryError(
            f"{out} has other data ({found or 'of the language pair'}); choose another --out"
        )


def make_once(out: Path, folder: str, module: str, *words: object) -> None:
    """Create ``folder`` with a module, unless it exists; it gets its name when it is complete."""
    if (out / folder).is_dir():
        return
    half = f".{folder}"
    shutil.rmtree(out / half, ignore_errors=True)
    flag = "--destdir" if module == "fairseq_cli.preprocess" else "--out"
    command = [sys.executable, "-m", module, *map(str, words), flag, half]
    log = out / "log" / f"{folder}.log"
    with open(log, "wb") as file:
        code = subprocess.run(
            command, cwd=out, env={**os.environ, "PYTHONUTF8": "1"}, stdout=file,
            stderr=subprocess.STDOUT, check=False,
        ).returncode  # fmt: skip
    if code:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise LotteryError(f"creating {out / folder} failed; its log {log} ends with: {last}")
    os.replace(out / half, out / folder)


def make_encoder_data(out: Path, model: str, vocabulary: int, *texts: str) -> None:
    """Segment text, and create the folders ``pretrain`` and ``tasks``, with one dictionary.

    Args:
        model: how subwords are learned, ``unigram`` or ``bpe``.
        vocabulary: number of subwords.
        texts: patterns of other texts to segment.
    """
    make_once(out, "subwords", "fairseq_lottery.demo.subword_stage", "--text", "text",
              "--train", "pretrain/train.txt",
              "--texts", "pretrain/*.txt", "tasks/**/*.input?", *texts,
              "--model", model, "--vocabulary", vocabulary, "--dictionary")  # fmt: skip
    make_once(out, "pretrain", "fairseq_cli.preprocess", "--only-source",
              "--srcdict", "subwords/dict.txt", "--trainpref", "subwords/pretrain/train.txt",
              "--validpref", "subwords/pretrain/valid.txt")  # fmt: skip
    make_once(out, "tasks", "fairseq_lottery.demo.task_stage", "--text", "text",
              "--subwords", "subwords")  # fmt: skip


def words_of(sizes: Mapping[str, int]) -> list[str]:
    """Return sizes as ``PART=SIZE`` words."""
    return [f"{part}={size}" for part, size in sizes.items()]
