"""Second stage: learn joint subwords on the training text and segment all texts."""

from __future__ import annotations

import argparse
from pathlib import Path

import sentencepiece

#: training texts and texts to segment of the demo's language pair
TRAIN, TEXTS = ("train.en", "train.de"), ("*.en", "*.de")


def main() -> None:
    """Write spm.model, fairseq's dictionary of it, and the encoded texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--train", nargs="+", default=TRAIN, metavar="FILE")
    parser.add_argument("--texts", nargs="+", default=TEXTS, metavar="PATTERN")
    parser.add_argument("--vocabulary", type=int, required=True)
    parser.add_argument("--model", choices=("unigram", "bpe"), default="unigram")
    parser.add_argument("--dictionary", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        input=[str(args.text / name) for name in args.train],
        model_prefix=str(args.out / "spm"),
        model_type=args.model,
        vocab_size=args.vocabulary,
        character_coverage=1.0,
        num_threads=1,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(args.out / "spm.model"))
    for path in sorted(path for pattern in args.texts for path in args.text.glob(pattern)):
        with open(path, encoding="utf-8") as lines:  # the lines that fairseq counts
            pieces = model.encode([line.rstrip("\n") for line in lines], out_type=str)
        encoded = "".join(" ".join(line) + "\n" for line in pieces)
        target = args.out / path.relative_to(args.text)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(encoded, encoding="utf-8")
    if args.dictionary:
        _write_dictionary(model, args.out / "dict.txt")
    print(f"wrote {args.out}")


def _write_dictionary(model: sentencepiece.SentencePieceProcessor, target: Path) -> None:
    """Write all pieces except those that fairseq adds by itself.

    So all data have the same dictionary, whatever pieces occur in their text.
    """
    pieces = [model.id_to_piece(number) for number in range(model.get_piece_size())]
    lines = [f"{piece} 1\n" for piece in pieces if piece not in ("<unk>", "<s>", "</s>")]
    target.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
