"""First stage: write the parallel text, one sentence per line."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_lottery.demo.language import corpus


def main() -> None:
    """Write PART.en and PART.de for every part of the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--sizes", nargs="+", required=True, metavar="PART=SENTENCES")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sizes = {name: int(size) for name, size in (part.split("=") for part in args.sizes)}
    args.out.mkdir(parents=True, exist_ok=True)
    for name, pairs in corpus(args.seed, sizes).items():
        for language, sentences in zip(("en", "de"), zip(*pairs)):
            path = args.out / f"{name}.{language}"
            path.write_text("".join(f"{line}\n" for line in sentences), encoding="utf-8")
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
