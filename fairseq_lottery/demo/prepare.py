"""Create the demo's binary data with three commands; skip commands that are finished."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fairseq_lottery.demo.labels import write_labels
from fairseq_lottery.demo.stages import make_once, open_folder
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing

CONFIGURATION = "demo.yaml"
#: number of sentence pairs of each part
SIZES = {"test": 500, "valid": 200, "train": 20000}
VOCABULARY = 1000


def prepare(out: Path, seed: int, sizes: Mapping[str, int] = SIZES, labels: bool = False) -> Path:
    """Create text, subwords and data in ``out``, and return the configuration for them.

    Args:
        seed: seed of the generated text.
        sizes: part of the data -> number of its sentence pairs.
        labels: whether to also write the labels of the words, into the folder of the text.

    Raises:
        LotteryError: ``out`` has other files or another seed, or cannot be written; or a command
            failed.
    """
    target = out / CONFIGURATION
    open_folder(out)
    if target.is_file() and f"seeds: [{seed}]" not in target.read_text(encoding="utf-8"):
        raise LotteryError(f"{out} was created with another seed; choose another --out")
    parts = [flag for part in sizes for flag in (f"--{part}pref", f"subwords/{part}")]
    make_once(out, "text", "fairseq_lottery.demo.language", "--seed", seed, "--sizes",
          *(f"{part}={size}" for part, size in sizes.items()))  # fmt: skip
    make_once(out, "subwords", "fairseq_lottery.demo.subword_stage", "--text", "text",
          "--vocabulary", VOCABULARY)  # fmt: skip
    make_once(out, "data", "fairseq_cli.preprocess", "--source-lang", "en", "--target-lang", "de",
          "--joined-dictionary", *parts)  # fmt: skip
    if labels:
        write_labels(out / "text", seed, sizes)
    text = Path(__file__).with_name(CONFIGURATION).read_text(encoding="utf-8")
    with replacing(target) as path:
        path.write_text(text.replace("seeds: [1]", f"seeds: [{seed}]"), encoding="utf-8")
    return target
