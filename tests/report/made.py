"""Workflow folders as a run leaves them, made without training: scores, curves and masks.

Translations are references with words exchanged, more of them the sparser the model, and the
recorded scores are sacreBLEU's of just these translations.
"""

import json
import math
import random

import torch
from sacrebleu.metrics import BLEU, CHRF, TER
from small import SHAPES, save_checkpoint, weights

from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.score_table import save_scores
from fairseq_lottery.masks import Mask, prunable_matrices

TITLES = {
    "mp": "MP",
    "lt": "LT",
    "slt": "SLT",
    "clt": "CLT",
    "slt-mp": "SLT-MP",
    "mp-slt": "MP-SLT",
    "random": "random mask",
    "heads-lowest": "lowest heads",
    "heads-random": "random heads",
    "blocks-lowest": "lowest blocks",
    "s-good": "s-pruning, good",
    "s-bad": "s-pruning, bad",
    "m-good": "m-pruning, good",
}
#: how fast translations get worse with sparsity
HARM = {"mp": 1.0, "lt": 1.35, "slt": 0.85, "clt": 0.9, "slt-mp": 0.8, "mp-slt": 0.95, "random": 2}
#: two layers a side with four heads and eight units: 24 heads, 32 units, 4 blocks
ANATOMY = Anatomy(
    {
        f"{side}.layers.{layer}.{module}": 4
        for side, module in (
            ("encoder", "self_attn"), ("decoder", "self_attn"), ("decoder", "encoder_attn"),
        )
        for layer in (0, 1)
    },
    {f"{side}.layers.{layer}": 8 for side in ("encoder", "decoder") for layer in (0, 1)},
)  # fmt: skip
COUNTS = {kind: sum(sizes.values()) for kind, sizes in ANATOMY.sizes.items()}
RECIPE = {"architecture": "transformer_wmt_en_de", "updates": 1000, "optimizer": "masked_adam"}
METRICS = {"BLEU": BLEU, "chrF": CHRF, "TER": TER}
EVALUATION = "best-beam4-lenpen0.6"
WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


def references(sentences, seed=0):
    """Sentences of 8 to 20 invented words."""
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(8, 20))) for _ in range(sentences)]


def translate(lines, share, seed):
    """Exchange this share of the words."""
    chance = random.Random(seed)
    return [
        " ".join(chance.choice(WORDS) if chance.random() < share else w for w in line.split())
        for line in lines
    ]


def harm(technique, sparsity):
    """The share of exchanged words: little at first, steep at the sparse end."""
    return 0.2 + HARM.get(technique, 1.0) * 0.2 * (1 / max(1 - sparsity, 0.02)) ** 0.5 / 4


class Made:
    """A folder of a run; ``write`` puts down what has been added so far."""

    def __init__(
        self, folder, techniques=("mp", "slt", "random"), sparsities=(0.5, 0.9), seeds=(1,),
        sentences=60, title="Small task", published=None, recipe=RECIPE,
        rows=None,
    ):  # fmt: skip
        """``rows``: technique -> what its sparsities are a share of, where that is not weights."""
        folder.mkdir(parents=True)
        self.folder, self.records = folder, []
        self.techniques, self.sparsities, self.seeds = techniques, sparsities, seeds
        self.lines = references(sentences)
        (folder / "references.test.txt").write_text("\n".join(self.lines) + "\n")
        self.plan = {
            "title": title,
            "techniques": [{"name": n, "title": TITLES.get(n, n)} for n in ("dense", *techniques)],
            "sparsities": list(sparsities),
            "seeds": list(seeds),
            "published": published,
            "recipe": dict(recipe),
            "stages": [],
        }
        self.rows = rows or {}
        for entry in self.plan["techniques"]:
            if entry["name"] in self.rows:
                entry["rows"] = self.rows[entry["name"]]

    def cells(self):
        for seed in self.seeds:
            yield "dense", 0.0, seed
            for technique in self.techniques:
                for sparsity in self.sparsities:
                    yield technique, sparsity, seed

    def training(self, technique, sparsity, seed):
        name = f"seed{seed}/{technique}-{sparsity:g}"
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        return {
            "technique": technique, "sparsity": sparsity, "seed": seed, "training": name,
        }  # fmt: skip

    def score(self, metrics=("BLEU",), skip=lambda cell: False, evaluation=EVALUATION):
        """Translate every cell and score the translations."""
        for number, cell in enumerate(self.cells()):
            if skip(cell):
                continue
            about = self.training(*cell)
            hypotheses = translate(self.lines, harm(*cell[:2]), 100 * cell[2] + number)
            path = f"{about['training']}/hypotheses.txt"
            (self.folder / path).write_text("\n".join(hypotheses) + "\n")
            for metric in metrics:
                measure = METRICS[metric]()
                score = measure.corpus_score(hypotheses, [self.lines]).score
                self.records.append(
                    {
                        "kind": "score", **about, "checkpoint": "best", "update": 980, "beam": 4,
                        "lenpen": 0.6, "evaluation": evaluation, "subset": "test",
                        "metric": metric, "score": score,
                        "signature": str(measure.get_signature()),
                        "run": f"technique:{cell[0]}|sparsity:{cell[1]:.4f}|seed:{cell[2]}",
                        "pruned": round(cell[1] * 1000), "prunable": 1000,
                        "denominator": "all-matrices", "hypotheses": path,
                        "references": "references.test.txt", "sentences": len(self.lines),
                        **self.closed(*cell),
                    }
                )  # fmt: skip
        return self

    def closing(self, technique, sparsity):
        """Kind -> how many of its parts a cell closes; a search as many as it finds."""
        rows = self.rows.get(technique, "weights")
        if rows == "metric":
            return {"heads": round((1 - sparsity) * 20), "units": 0, "blocks": 1}
        counts = dict.fromkeys(COUNTS, 0)
        return {**counts, rows: round(sparsity * COUNTS[rows])} if rows in counts else counts

    def closed(self, technique, sparsity, seed):
        """What a score's record says of what is closed; of weights nothing more."""
        rows = self.rows.get(technique, "weights")
        if rows == "weights":
            return {}
        kind = "heads" if rows == "metric" else rows
        counts = self.closing(technique, sparsity)
        if technique.startswith("m-"):  # single weights, and no part
            closed = {**dict.fromkeys(COUNTS, 0.0), "weights": round(1 - sparsity, 2)}
            return {"pruned": 4, "prunable": 10, "denominator": "no-embeddings", "closed": closed}
        return {
            "pruned": counts[kind], "prunable": COUNTS[kind], "denominator": kind,
            "closed": {kind: counts[kind] / COUNTS[kind] for kind in COUNTS},
        }  # fmt: skip

    def choices(self):
        """The choice of every cell that closes some: at random, the same first half a seed."""
        for cell in self.cells():
            if cell[0] not in self.rows or cell[0].startswith("m-"):
                continue
            about = self.training(*cell)
            closed = {}
            for kind, count in self.closing(*cell[:2]).items():
                every = [(n, i) for n, size in ANATOMY.sizes[kind].items() for i in range(size)]
                common = random.Random(cell[0]).sample(every, count)
                own = random.Random(cell[2]).sample(every, count)
                chosen = dict.fromkeys([*common[: count // 2], *own])
                for name, number in list(chosen)[:count]:
                    closed.setdefault(kind, {}).setdefault(name, []).append(number)
            self.choice(ComponentMask(ANATOMY, closed), about)
        return self

    def choice(self, parts, about):
        """One choice, as a file and a record."""
        path = f"{about['training']}/parts.json"
        save_choice(self.folder / path, parts, {"made": "here"})
        self.records.append({"kind": "parts", **about, "file": path})

    def importance(self, measures=("gradient-sentence", "confidence"), anatomy=ANATOMY):
        """Scores of the dense model's parts, in [0, 1] and in the order of their numbers."""
        for seed in self.seeds:
            for measure in measures:
                about = self.training("dense", 0.0, seed)
                chance = random.Random(f"{measure}{seed}")
                scores = {
                    "heads": {
                        name: torch.tensor([chance.random() ** 2 for _ in range(count)])
                        for name, count in anatomy.heads.items()
                    }
                }
                path = f"{about['training']}/{measure}.json"
                save_scores(self.folder / path, anatomy, scores, {})
                self.records.append(
                    {"kind": "importance", **about, "measure": measure, "file": path}
                )
        return self

    def curve(self, metrics=("loss", "bleu"), points=20):
        """Validation curves of 1,000 updates."""
        for number, cell in enumerate(self.cells()):
            about = self.training(*cell)
            chance = random.Random(number)
            floor = 3 + 2 * harm(*cell[:2])
            for n in range(1, points + 1):
                loss = floor + 6 * math.exp(-6 * n / points) + chance.gauss(0, 0.01)
                values = {"loss": loss, "bleu": max(0.0, 60 - 12 * loss)}
                for metric in metrics:
                    self.records.append(
                        {
                            "kind": "curve", **about, "update": n * 1000 // points,
                            "split": "valid", "metric": metric, "value": values[metric],
                        }
                    )  # fmt: skip
        return self

    def model(self, shapes=SHAPES, save=save_checkpoint):
        """Checkpoints with masks: seeds differ, techniques share part of what they keep."""
        rows = prunable_matrices(shapes)
        protected = {name: row for name, row in rows.items() if row is not None}
        parameters = weights()
        if shapes is not SHAPES:
            parameters = {name: torch.zeros(shape) for name, shape in shapes.items()}
        for cell in self.cells():
            about, mask = self.training(*cell), None
            if cell[0] != "dense":
                mask = Mask({n: self._keep(n, shapes[n], protected, cell) for n in rows}, protected)
            kept = {
                n: w * mask[n] if mask is not None and n in mask else w
                for n, w in parameters.items()
            }
            path = f"{about['training']}/best.pt"
            save(self.folder / path, kept, mask=mask)
            self.records.append({"kind": "model", **about, "file": path, "checkpoint": "best"})
        return self

    def _keep(self, name, shape, protected, cell):
        technique, sparsity, seed = cell
        common, own = torch.Generator(), torch.Generator()
        common.manual_seed(1000 * seed + len(name))
        own.manual_seed(hash_of(technique) + 7 * seed + len(name))
        rank = torch.rand(shape, generator=common)
        if technique == "random":
            rank = torch.rand(shape, generator=own)
        else:
            rank = rank + 0.3 * torch.rand(shape, generator=own)
        share = sparsity
        if technique == "clt":  # as with a global scope: unequal by matrix
            share = sparsity + min(sparsity, 1 - sparsity) * (0.6 if "attn" in name else -0.3)
        keep = rank > torch.quantile(rank.flatten(), share)
        if name in protected:
            keep[protected[name]] = True
        return keep

    def write(self):
        """Write plan and records; returns the folder."""
        (self.folder / "plan.json").write_text(json.dumps(self.plan))
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        (self.folder / "records.jsonl").write_text(lines)
        return self.folder


def hash_of(name):
    """A number from a name, the same in every process."""
    return sum(256**n * ord(c) for n, c in enumerate(name)) % 2**31


def score_record(**changes):
    """One score as a record."""
    return {
        "kind": "score", "technique": "slt", "sparsity": 0.9, "seed": 1, "training": "seed1/slt",
        "checkpoint": "best", "update": 980, "beam": 4, "lenpen": 0.6, "evaluation": EVALUATION,
        "subset": "test", "metric": "BLEU", "score": 26.6,
        "signature": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
        "run": "technique:slt|sparsity:0.9000", "pruned": 900, "prunable": 1000,
        "denominator": "all-matrices", "hypotheses": "seed1/slt/hypotheses.txt",
        "references": "references.test.txt", "sentences": 60, **changes,
    }  # fmt: skip
