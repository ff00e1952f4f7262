"""Joint word pieces: learned on training text, dictionary for fairseq, every set cut into them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from preparation.pairs import Pair, RawPair, ordered, read_pairs, writing_pairs
from preparation.text import said

# One character in a hundred thousand, the rarest, becomes <unk>. Web text has thousands of kinds
# of characters, and each kind that is kept takes the place of a word piece.
COVERAGE = 0.99999
SPECIAL = 4  # <s>, <pad>, </s> and <unk>: fairseq's own, in front of every dictionary
CONTROL = 3  # <unk>, <s> and </s>: sentencepiece's own
LONGEST, RATIO = 250, 1.5  # of clean-corpus-n, as in fairseq's preparation scripts


def learn(
    texts: Iterable[Path], vocabulary: int, sample: int, threads: int, folder: Path
) -> dict[str, Any]:
    """Learn ``spm.model`` on the texts of all languages, and write ``dict.txt`` for fairseq.

    ``vocabulary`` counts the rows of the embedding: the pieces and fairseq's four symbols. The
    dictionary has all pieces and nothing else, so its size is known before the text is cut.

    Raises:
        LotteryError: the text is too small for so many pieces.
    """
    import sentencepiece

    sentencepiece.set_random_generator_seed(1)  # of the sample
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=[str(text) for text in texts],
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary - SPECIAL + CONTROL,
            character_coverage=COVERAGE,
            normalization_rule_name="identity",  # the text is normalised, and stays as it is
            input_sentence_size=sample,
            shuffle_input_sentence=True,
            num_threads=threads,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise LotteryError(
            f"sentencepiece cannot learn {vocabulary:,} types ({str(error).splitlines()[-1]});"
            " choose a smaller --vocabulary"
        ) from error
    (folder / "spm.model").write_bytes(model.getvalue())
    pieces = _pieces(folder / "spm.model")[CONTROL:]
    dictionary = "".join(f"{piece} 1\n" for piece in pieces)
    (folder / "dict.txt").write_text(dictionary, encoding="utf-8")
    characters = sum(len(piece) == 1 for piece in pieces)
    print(
        f"word pieces: {len(pieces):,}, {characters:,} of them characters; with fairseq's"
        f" {SPECIAL} symbols a dictionary of {vocabulary:,}"
    )
    return {"pieces": len(pieces), "characters": characters}


def cut_training(text: Path, pair: Pair, model: Path, folder: Path, workers: int) -> dict[str, int]:
    """Cut the training text, and drop pairs that are too long or too unequal.

    Returns:
        counts: pairs read, too long, of too unequal length, kept; pieces, and how many of them
        are unknown.

    Raises:
        LotteryError: nothing is left.
    """
    names = ("read", "too_long", "ratio", "kept", "pieces", "unknown")
    counts: Counter[str] = Counter(dict.fromkeys(names, 0))
    chunks = read_pairs(*(text / f"train.{language}" for language in pair))
    with writing_pairs(folder, "train", pair) as write:
        for pairs, found in ordered(partial(cut_pairs, model=model, drop=True), chunks, workers):
            write(pairs)
            counts.update(found)
    print(f"training pieces: {said(counts)}")
    if not counts["kept"]:
        raise LotteryError("no pair of sentences has a fitting length; look into the clean text")
    return dict(counts)


def cut_set(text: Path, name: str, pair: Pair, model: Path, folder: Path) -> int:
    """Cut a validation or test set, every sentence of it; gives their number."""
    count = 0
    with writing_pairs(folder, name, pair) as write:
        for chunk in read_pairs(*(text / f"{name}.{language}" for language in pair)):
            pairs, _ = cut_pairs(chunk, model, drop=False)
            write(pairs)
            count += len(pairs)
    return count


def cut_pairs(pairs: list[RawPair], model: Path, drop: bool) -> tuple[list[Pair], dict[str, int]]:
    """Pairs as pieces with spaces between; unfit ones are dropped where ``drop`` says so."""
    pieces, unknown = _pieces(model), _processor(model).unk_id()
    sides = [
        _processor(model).encode([side.decode("utf-8") for side in sides]) for sides in zip(*pairs)
    ]
    kept = []
    counts = Counter(read=len(pairs))
    for first, second in zip(*sides):
        reason = unfit(len(first), len(second)) if drop else None
        if reason:
            counts[reason] += 1
            continue
        counts["pieces"] += len(first) + len(second)
        counts["unknown"] += first.count(unknown) + second.count(unknown)
        kept.append((" ".join(pieces[i] for i in first), " ".join(pieces[i] for i in second)))
    counts["kept"] = len(kept)
    return kept, dict(counts)


def unfit(first: int, second: int) -> Optional[str]:
    """Why a pair of these numbers of pieces is dropped, or None."""
    if max(first, second) > LONGEST:
        return "too_long"
    if min(first, second) == 0 or max(first, second) > RATIO * min(first, second):
        return "ratio"
    return None


@cache
def _processor(model: Path) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(model))


@cache
def _pieces(model: Path) -> list[str]:
    processor = _processor(model)
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
