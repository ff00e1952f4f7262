"""The number of parameters of a Transformer, from its training's flags and dictionaries."""

from __future__ import annotations

from typing import Optional

from fairseq_lottery.adapters import TRANSLATION
from fairseq_lottery.files import read_bytes
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: architecture of fairseq -> embedding dimension, FFN dimension, and layers of each side
_BASE, _BIG = (512, 2048, 6), (1024, 4096, 6)
_ARCHITECTURES = {
    "transformer": _BASE,
    "transformer_wmt_en_de": _BASE,
    "transformer_iwslt_de_en": (512, 1024, 6),
    "transformer_tiny": (64, 64, 2),
    "transformer_vaswani_wmt_en_de_big": _BIG,
    "transformer_vaswani_wmt_en_fr_big": _BIG,
    "transformer_wmt_en_de_big": _BIG,
    "transformer_wmt_en_de_big_t2t": _BIG,
}
#: number of fairseq's special symbols, and maximum bytes of a dictionary
_SPECIAL, _LARGEST = 4, 1 << 24


def count_parameters(configuration: Configuration) -> Optional[int]:
    """Return the number of parameters, ignoring rare options of fairseq.

    Returns:
        None if the architecture is unknown, or the dictionaries do not exist yet.
    """
    flags = configuration.train
    sizes = _ARCHITECTURES.get(flags.get("--arch") or "")
    symbols = _symbols(configuration)
    if configuration.task is not TRANSLATION or sizes is None or symbols is None:
        return None
    width, inner, layers = (
        _whole(flags, f"--encoder-{name}", size)
        for name, size in zip(("embed-dim", "ffn-embed-dim", "layers"), sizes)
    )
    own_width = _whole(flags, "--decoder-embed-dim", width)
    own_inner = _whole(flags, "--decoder-ffn-embed-dim", inner)
    own_layers = _whole(flags, "--decoder-layers", sizes[2])
    source, target = symbols
    embeddings = source * width
    if "--share-all-embeddings" not in flags:
        shared = "--share-decoder-input-output-embed" in flags
        embeddings += target * own_width * (1 if shared else 2)
    encoder = _attention(width, width) + _feed_forward(width, inner)
    decoder = _attention(own_width, own_width) + _attention(own_width, width)
    decoder += _feed_forward(own_width, own_inner)
    return embeddings + layers * encoder + own_layers * decoder


def _attention(width: int, read: int) -> int:
    """Return the parameters of four projections, two with ``read`` inputs, and a layer norm."""
    return 2 * width * (width + read) + 6 * width


def _feed_forward(width: int, inner: int) -> int:
    """Return the parameters of two matrices with biases, and a layer norm."""
    return 2 * width * inner + inner + 3 * width


def _whole(flags: Flags, name: str, default: int) -> int:
    text = flags.get(name) or ""
    return int(text) if text.isdecimal() and len(text) < 10 else default


def _symbols(configuration: Configuration) -> Optional[tuple[int, int]]:
    """Return the sizes of the source and the target dictionary."""
    names = [configuration.train.get(flag) for flag in ("--source-lang", "--target-lang")]
    files = [configuration.data / f"dict.{name}.txt" for name in names]
    if not all(names):  # the order of languages hardly changes the count
        files = sorted(configuration.data.glob("dict.*.txt"))
    try:
        source, target = (read_bytes(file, _LARGEST).count(b"\n") + _SPECIAL for file in files)
    except (OSError, ValueError):  # missing files, or not exactly two
        return None
    return source, target
