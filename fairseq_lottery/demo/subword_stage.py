"""Second stage: learn joint subwords on the training text and segment all parts."""

from __future__ import annotations

import argparse
from pathlib import Path

import sentencepiece


def main() -> None:
    """Write spm.model and the encoded parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--vocabulary", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        input=[str(args.text / f"train.{language}") for language in ("en", "de")],
        model_prefix=str(args.out / "spm"),
        vocab_size=args.vocabulary,
        character_coverage=1.0,
        num_threads=1,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(args.out / "spm.model"))
    for path in sorted((*args.text.glob("*.en"), *args.text.glob("*.de"))):
        with open(path, encoding="utf-8") as lines:  # the lines that fairseq counts
            pieces = model.encode([line.rstrip("\n") for line in lines], out_type=str)
        encoded = "".join(" ".join(line) + "\n" for line in pieces)
        (args.out / path.name).write_text(encoded, encoding="utf-8")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
