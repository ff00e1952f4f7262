"""Score the translations of a test set, and check that they are complete.

Run in the training's environment as ``python -m fairseq_lottery.workflow.stages.score``.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.files import replacing
from fairseq_lottery.records.json_files import write_lines
from fairseq_lottery.records.stage_records import SCORES
from fairseq_lottery.workflow.stages.references import read_lines, refuse_other_references
from fairseq_lottery.workflow.stages.selected_model import add_model_arguments, measure

#: source, target, translation, detokenised translation, scores of its tokens, in this order
_LINE = re.compile(r"([STHDP])-(\d+)\t(.*)")


def read_translations(path: Path, references: list[str]) -> tuple[list[str], list[str]]:
    """Return hypotheses and sources in the order of the test set.

    Args:
        path: output of fairseq-generate.
        references: raw sentences.

    Raises:
        LotteryError: a sentence is missing, doubled or truncated, or the references do not match.
    """
    texts: dict[str, dict[int, str]] = {kind: {} for kind in "STHDP"}
    for line in read_lines(path):
        match = _LINE.match(line)
        if match:
            kind, number, rest = match.group(1), int(match.group(2)), match.group(3)
            if number in texts[kind]:
                raise LotteryError(f"{path} translates sentence {number} twice; delete it")
            texts[kind][number] = rest.split("\t", 1)[-1] if kind in "DH" else rest
    hypotheses = texts["D"] or texts["H"]
    if not references:
        raise LotteryError(f"the references for {path} are empty; give those of the test set")
    missing = [n for n in range(len(references)) if n not in hypotheses]
    if missing or len(hypotheses) != len(references):
        raise LotteryError(
            f"{path} has {len(hypotheses)} translations for {len(references)} references"
            f"{f' (sentence {missing[0]} is missing)' if missing else ''}; give the references of"
            " the test set that was preprocessed"
        )
    # fairseq-generate writes token scores last, so a translation without them may be truncated
    truncated = [n for n in range(len(references)) if n not in texts["P"]]
    if truncated:
        raise LotteryError(
            f"{path} is truncated in sentence {truncated[0]}; delete it and translate again"
        )
    refuse_other_references(str(path), texts["T"], references)
    order = range(len(references))
    return [hypotheses[n] for n in order], [texts["S"].get(n, "") for n in order]


def scores(
    hypotheses: list[str], references: list[str], metrics: list[str]
) -> list[dict[str, Any]]:
    """Return corpus scores of sacreBLEU with their signatures."""
    from sacrebleu.metrics import BLEU, CHRF, TER

    makers: dict[str, Any] = {"BLEU": BLEU, "chrF": CHRF, "TER": TER}
    rows: list[dict[str, Any]] = []
    for name in metrics:
        metric = makers[name]()
        value = metric.corpus_score(hypotheses, [references]).score
        rows.append({"metric": name, "score": value, "signature": str(metric.get_signature())})
    return rows


def extra_score(name: str, command: str, places: dict[str, str]) -> dict[str, Any]:
    """Return the number at the end of the output of a user's command.

    Args:
        places: placeholder of the command -> path.
    """
    filled = command.format(**{name: shlex.quote(path) for name, path in places.items()})
    ended = subprocess.run(filled, shell=True, capture_output=True, text=True, check=False)
    # the number must be the last word, or follow a colon or an equals sign in it
    number = re.search(r"(?:^|[\s:=])([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*$", ended.stdout)
    if ended.returncode or not number:
        last = (ended.stderr or ended.stdout).strip().splitlines()[-1:]
        raise LotteryError(
            f"score_command {name} ended with exit code {ended.returncode} and"
            f" {'a' if number else 'no'} number at the end: {' '.join(last)[:200]}"
        )
    return {"metric": name, "score": float(number.group(1)), "signature": command}


def main(argv: list[str] | None = None) -> None:
    """Score one file of translations, and write hypotheses.txt, sources.txt and scores.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--translations", type=Path, required=True)
    parser.add_argument("--references", type=Path, required=True)
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--metrics", nargs="*", default=["BLEU"])
    parser.add_argument("--score-command", nargs=2, action="append", default=[])
    args = parser.parse_args(argv)
    measured = measure(
        *(args.model, args.sparsity, args.components, args.kind, args.share, args.pair_mask)
    )
    try:
        references = read_lines(args.references)
    except OSError as error:
        raise LotteryError(f"the references {args.references} cannot be read: {error}") from error
    hypotheses, sources = read_translations(args.translations, references)
    for name, lines in (("hypotheses", hypotheses), ("sources", sources)):
        with replacing(args.out / f"{name}.txt") as path:
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    rows = scores(hypotheses, references, args.metrics)
    places = {
        "hypotheses": str(args.out / "hypotheses.txt"),
        "sources": str(args.out / "sources.txt"),
        "references": str(args.references),
    }
    rows += [extra_score(name, command, places) for name, command in args.score_command]
    counted = {"sentences": len(references), **measured.row}
    write_lines(args.out / SCORES, [{**row, **counted} for row in rows])
    for row in rows:
        print(f"{row['metric']} {row['score']:.2f} {row['signature']}")


if __name__ == "__main__":
    with one_sentence():
        main()
