"""Third stage of ``demo --kind languages``: convert every pair with fairseq-preprocess.

It runs in one process for all pairs, because importing fairseq takes longer than converting.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from fairseq_lottery.demo.languages.language_table import HUB, LANGUAGES


def pairs() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield two languages, and the parts of their text.

    Two invented languages only have a test set: no model is trained on their pair.
    """
    for source, target in combinations((HUB, *LANGUAGES), 2):
        yield source, target, ("train", "valid", "test") if source == HUB else ("test",)


def main() -> None:
    """Write the binary text of all pairs, and dict.XX.txt, which are the same."""
    from fairseq import options
    from fairseq_cli import preprocess

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subwords", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for source, target, parts in pairs():
        flags = ["--source-lang", source, "--target-lang", target, "--destdir", str(args.out)]
        flags += [f"--{side}dict={args.subwords / 'dict.txt'}" for side in ("src", "tgt")]
        for part in parts:
            flags += [
                f"--{part}pref",
                str(args.subwords / "parallel" / f"{part}.{source}-{target}"),
            ]
        preprocess.main(options.get_preprocessing_parser().parse_args(flags))
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
