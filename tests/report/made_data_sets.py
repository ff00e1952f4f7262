"""A folder of a run with several data sets, made without training.

Scores are means that a test chooses, plus a fixed deviation of each seed, so deviations are known.
The order of these deviations differs between the full model and all others.
"""

import json
import random

import torch
from report.made import ANATOMY, COUNTS

from fairseq_lottery.formats import save_mask
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.masks import Mask

#: data set -> its task, metric, whether larger is better, number of examples, full mean
DATA_SETS = {
    "acceptability": ("sentence_prediction", "mcc", True, 400, 54.0),
    "agreement": ("sentence_prediction", "accuracy", True, 800, 91.0),
    "similarity": ("sentence_prediction", "pearson", True, 300, 88.0),
    "masked-words": ("masked_lm", "loss", False, 5000, 2.5),
}
TITLES = {
    "imp": "global IMP",
    "random": "random mask",
    "fresh-weights": "fresh weights",
    "pruned-before": "pruned before fine-tuning",
    "heads-lowest-fine-tune": "lowest heads, fine-tune",
}
#: added to the scores of seeds 1, 2, 3: the sample deviation of three seeds is 1
SHIFTS = {1: -1.0, 2: 0.0, 3: 1.0}
#: deviation of the seeds of a metric
DEVIATION = {"loss": 0.02}


def drop_of(technique, data, sparsity):
    """How many deviations the mean of a cell is worse than the full model's."""
    hardness = {"acceptability": 3.0, "agreement": 0.8, "similarity": 1.5, "masked-words": 1.0}
    of = {"imp": 0.5, "random": 6.0, "fresh-weights": 8.0, "pruned-before": 1.6, "dense": 0.0}
    source = technique.partition("transfer-")[2]
    step = of.get(technique, 1.0)
    if source:
        step = 0.5 if source == data else 0.45 if source == "masked-words" else 2.0
    return step * hardness.get(data, 1.0) * (sparsity / 0.5) ** 2 if sparsity else 0.0


class MadeDataSets:
    """A folder of a plan with several data sets; ``write`` puts down what has been added."""

    def __init__(
        self, folder, data_sets=DATA_SETS, techniques=("imp", "random", "pruned-before"),
        sparsities=(0.5, 0.7), seeds=(1, 2, 3), sources=None, published=None, title="Made tasks",
        rows=None,
    ):  # fmt: skip
        """``sources``: data sets whose masks are transferred; by default all."""
        folder.mkdir(parents=True)
        self.folder, self.data_sets, self.records = folder, data_sets, []
        self.sparsities, self.seeds = sparsities, seeds
        self.sources = list(data_sets) if sources is None else sources
        self.techniques = [*techniques, *(f"transfer-{name}" for name in self.sources)]
        self.rows = rows or {}
        self.plan = {
            "title": title,
            "techniques": list(map(self._technique, ["dense", *self.techniques])),
            "sparsities": [0.0, *sparsities],
            "seeds": list(seeds),
            "published": published,
            "recipe": self._recipe(next(iter(data_sets))),
            "data_sets": [
                {"name": name, "task": about[0], "recipe": self._recipe(name)}
                for name, about in data_sets.items()
            ],
            "cells": [
                {**self.about(cell), **({"keeps_start": True} if self.keeps_start(cell[1]) else {})}
                for cell in self.cells()
            ],
            "stages": [],
        }  # fmt: skip

    def _technique(self, name):
        source = name.partition("transfer-")[2]
        entry = {"name": name, "title": TITLES.get(name, name)}
        if source:
            entry.update(title=f"mask of {source}", source=source)
        return {**entry, "rows": self.rows[name]} if name in self.rows else entry

    def _recipe(self, name):
        task = self.data_sets[name][0]
        return {"task": task, "architecture": "roberta", "learning rate": "1e-4", "updates": 500}

    def keeps_start(self, technique):
        return technique not in ("dense", "fresh-weights") and technique not in self.rows

    def cells(self):
        """Data set, technique, sparsity, seed."""
        for data in self.data_sets:
            for seed in self.seeds:
                yield data, "dense", 0.0, seed
            for technique in self.techniques:
                for seed in self.seeds:
                    for sparsity in self.sparsities:
                        yield data, technique, sparsity, seed

    def about(self, cell):
        """The fields of a cell; its own masks, transferred, are those of IMP."""
        data, technique, sparsity, seed = cell
        label = "imp" if technique == f"transfer-{data}" else technique
        name = f"{data}/seed{seed}/{label}-{sparsity:g}"
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return {
            "technique": technique, "sparsity": sparsity, "seed": seed, "training": name,
            "data": data,
        }  # fmt: skip

    def score(self, drops=drop_of, skip=lambda cell: False, metrics=None):
        """``drops``: technique, data set, sparsity -> deviations below the full model's mean."""
        for cell in self.cells():
            if skip(cell):
                continue
            data, technique, sparsity, seed = cell
            _, metric, maximise, examples, full = self.data_sets[data]
            for name in (metrics or {}).get(data, (metric,)):
                deviation = DEVIATION.get(name, 1.0)
                drop = drops(technique, data, sparsity) * deviation
                shift = SHIFTS[seed if technique == "dense" else 1 + seed % 3] * deviation
                self.records.append(
                    {
                        "kind": "score", **self.about(cell), "checkpoint": "best", "update": 480,
                        "evaluation": "best", "subset": "valid", "metric": name,
                        "score": full - drop + shift if maximise else full + drop + shift,
                        "maximise": maximise, "examples": examples,
                        "signature": f"{name}|examples:{examples}", "denominator": "all-matrices",
                        "pruned": round(1000 * sparsity), "prunable": 1000,
                    }
                )  # fmt: skip
        return self

    def masks(self, shape=(40, 50)):
        """Masks of own techniques: half of the rank is common to all data sets and seeds."""
        for cell in self.cells():
            data, technique, sparsity, seed = cell
            about = self.about(cell)
            path = f"{about['training']}/best.pt"
            if technique != "dense":
                source = technique.partition("transfer-")[2] or data
                source = "random" if technique == "random" else source
                mask = self.mask(source, seed, sparsity, shape)
                save_mask(self.folder / path.replace(".pt", ".mask"), mask)
            self.records.append({"kind": "model", **about, "file": path, "checkpoint": "best"})
        return self

    def mask(self, data, seed, sparsity, shape):
        matrices = {}
        for number, name in enumerate(("fc1", "fc2")):
            common, of_data, own = (torch.Generator().manual_seed(n) for n in (
                number, sum(map(ord, data)), 100 * sum(map(ord, data)) + seed,
            ))  # fmt: skip
            rank = torch.rand(shape, generator=common) if data != "random" else 0
            rank = rank + 0.7 * torch.rand(shape, generator=of_data)
            rank = rank + 0.4 * torch.rand(shape, generator=own)
            share = sparsity + 0.1 * (1 if number else -1)
            matrices[f"encoder.layers.0.{name}.weight"] = rank > torch.quantile(
                rank.flatten(), share
            )
        return Mask(matrices)

    def choices(self):
        """Choices of heads: half of them common to all, the others by data set and seed."""
        for cell in self.cells():
            data, technique, sparsity, seed = cell
            if technique not in self.rows:
                continue
            every = [(n, i) for n, size in ANATOMY.sizes["heads"].items() for i in range(size)]
            count = round(sparsity * COUNTS["heads"])
            common = random.Random(technique).sample(every, count)[: count // 2]
            own = random.Random(f"{data}{seed}").sample(every, count)
            closed = {}
            for name, number in list(dict.fromkeys([*common, *own]))[:count]:
                closed.setdefault("heads", {}).setdefault(name, []).append(number)
            about = self.about(cell)
            path = f"{about['training']}/parts.json"
            save_choice(self.folder / path, ComponentMask(ANATOMY, closed), {"made": "here"})
            self.records.append({"kind": "parts", **about, "file": path})
        return self

    def write(self):
        """Write plan and records; returns the folder."""
        (self.folder / "plan.json").write_text(json.dumps(self.plan))
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        (self.folder / "records.jsonl").write_text(lines)
        return self.folder
