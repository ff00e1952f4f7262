"""Measuring what the stages left: sacreBLEU of the translations, sparsity of the weights."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import prunable_matrices
from fairseq_lottery.tickets import read_source

DENOMINATOR = "weights of all matrices, the shared embedding with them, its padding row left out"


@dataclass(frozen=True)
class Zeros:
    """How many of the prunable weights are exactly zero."""

    pruned: int
    prunable: int

    @property
    def sparsity(self) -> float:
        """The share of the prunable weights that is zero."""
        return self.pruned / self.prunable


def read_references(text: Path) -> list[str]:
    """The German test sentences, one a line."""
    return text.read_text(encoding="utf-8").splitlines()


def read_hypotheses(results: Path, references: list[str]) -> list[str]:
    """The translations that fairseq-generate wrote, in the order of the test set.

    Raises:
        LotteryError: a sentence is missing, or stands beside another one's reference.
    """
    found: dict[str, dict[int, str]] = {"H": {}, "T": {}}
    for line in results.read_text(encoding="utf-8").splitlines():
        match = re.match(r"([HT])-(\d+)\t(.*)$", line)
        if match:
            kind, number, rest = match.groups()
            found[kind][int(number)] = rest.split("\t")[-1] if kind == "H" else rest
    if sorted(found["H"]) != list(range(len(references))):
        raise LotteryError(
            f"{results} has {len(found['H'])} translations of {len(references)} sentences;"
            " delete its folder and its stamp, and run the demo again"
        )
    for number, reference in enumerate(references):
        if found["T"].get(number) != reference:
            raise LotteryError(
                f"{results} has another sentence {number} than the test set: its data were made"
                " from another text; choose another --out"
            )
    return [found["H"][number] for number in range(len(references))]


def bleu(hypotheses: list[str], references: list[str]) -> tuple[float, str]:
    """Corpus sacreBLEU and its signature."""
    metric = BLEU()
    score = metric.corpus_score(hypotheses, [references]).score
    return score, str(metric.get_signature())


def p_value(better: list[str], worse: list[str], references: list[str]) -> float:
    """sacreBLEU's paired bootstrap: how likely a difference this large is chance."""
    if better == worse:
        return 1.0  # the bootstrap counts no resample beyond a difference of zero
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)  # it tells of every step
    systems: list[tuple[str, Sequence[str]]] = [("better", better), ("worse", worse)]
    _, scores = PairedTest(systems, {"BLEU": BLEU()}, [references], test_type="bs")()
    found: Any = scores["BLEU"][1]
    return float(found.p_value)


def count_zeros(checkpoint: Path) -> Zeros:
    """Count zeros in the weights themselves, whatever mask the checkpoint says it has."""
    weights = read_source(checkpoint).weights
    rows = prunable_matrices({name: tuple(tensor.shape) for name, tensor in weights.items()})
    pruned = prunable = 0
    for name, padding in rows.items():
        keep = torch.ones(len(weights[name]), dtype=torch.bool)
        if padding is not None:
            keep[padding] = False
        matrix = weights[name][keep]
        pruned += matrix.numel() - int(torch.count_nonzero(matrix))
        prunable += matrix.numel()
    return Zeros(pruned, prunable)
