"""Configurations, plans and workflow folders in the state that a run would leave them in.

Nothing is trained: a finished stage is its record and the files that it leaves, all empty.
"""

import json
import re
from pathlib import Path

import yaml

from fairseq_lottery.records.plan import TRAINED
from fairseq_lottery.workflow.command_lines.plan_stages import make_stages
from fairseq_lottery.workflow.engine.emit import emit
from fairseq_lottery.workflow.engine.jobs import write_plan
from fairseq_lottery.workflow.planning.chosen_cells import choose_cells
from fairseq_lottery.workflow.planning.folder_state import find_work
from fairseq_lottery.workflow.planning.plan import make_plan
from fairseq_lottery.workflow.reading.configuration_reader import read_configuration
from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.techniques import TECHNIQUES
from fairseq_lottery.workflow.trainings.train_flags import Flags
from fairseq_lottery.workflow.trainings.training import Training
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary

TRAIN = (
    "--arch transformer --optimizer masked_adam --lr 7e-4 --lr-scheduler inverse_sqrt"
    " --warmup-updates 100 --max-tokens 4096 --max-update 1000"
)
#: of a paper's first table
TABLE_1 = ("mp", "lt", "slt", "clt", "slt-mp", "mp-slt")
ROWS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


#: without those that require several data sets, pre-trained weights, several pairs of languages or
#: dense embeddings, or have only a dense row
_OTHERS = ("transfer", "pruned-before", "pair-masks", "wanda", "sparsegpt", "dense-longer")
ONE_SET = [name for name in TECHNIQUES if name not in _OTHERS]

#: of a configuration of a multilingual model
PAIRS = {
    "task": "translation_multi_simple_epoch",
    "references": None,
    "train": f"{TRAIN} --langs en,de,fr --lang-pairs en-de,de-en,en-fr,fr-en",
    "evaluate": [{"pair": "en-de", "references": "test.de"}],
}

#: of a configuration of masked language models, which nothing translates
MASKED = {"task": "masked_lm", "references": None, "train": TRAIN.replace("transformer", "roberta")}


#: of classifiers, whose metric is better if it is larger
CLASSIFIED = {
    **MASKED,
    "task": "sentence_prediction",
    "train": f"{MASKED['train']} --num-classes 2 --best-checkpoint-metric mcc"
    " --maximize-best-checkpoint-metric",
}


def write(folder, *techniques, name="small.yaml", **settings):
    """Write a configuration; ``settings`` are further keys, or other values of the same ones."""
    values = {
        "data": "data-bin",
        "references": "test.de",
        "train": TRAIN,
        "techniques": list(techniques) or ["slt"],
        "resources": {"gpus": 0},
        **settings,
    }
    values = {name: value for name, value in values.items() if value is not None}
    if "sparsities" in settings:  # short plans: a round for each row
        values.setdefault("rounds", settings["sparsities"])
    path = Path(folder) / name
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)
    path.write_text(text, encoding="utf-8")
    return path


def configure(folder, *techniques, **settings):
    """The configuration that ``write`` writes, read."""
    return read_configuration(write(folder, *techniques, **settings))


def plan_of(folder, *techniques, **settings):
    """Its plan."""
    return make_plan(configure(folder, *techniques, **settings))


class Work:
    """A workflow's folder: its plan, its stages, and what is finished of them."""

    def __init__(self, folder, *techniques, only=(), only_seeds=None, executor="local", **settings):
        self.plan = plan_of(folder, *techniques, **settings)
        self.configuration = self.plan.configuration
        self.stages = make_stages(self.plan, executor)
        cells = choose_cells(self.plan, only, only_seeds)
        self.wanted = {cell.training.folder for cell in cells}
        self.out = self.configuration.out
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def work(self):
        return find_work(self.out, self.stages, self.wanted)

    @property
    def pending(self):
        """The kinds and folders of what is to do."""
        return [(stage.kind, stage.folder) for stage in self.work.pending]

    def stage(self, kind, technique, sparsity, seed=1):
        """The stage of a kind for a cell; the first where there are several."""
        folder = self.cell(technique, sparsity, seed).training.folder
        return next(s for s in self.stages if s.kind == kind and s.folder.startswith(folder))

    def cell(self, technique, sparsity, seed=1):
        cells = [c for c in self.plan.cells if (c.technique, c.sparsity) == (technique, sparsity)]
        return next(c for c in cells if c.seed == seed)

    def finish(self, *stages, **record):
        """Leave what these stages leave, all of them where none is named."""
        for stage in stages or self.stages:
            for file in stage.leaves:
                path = self.out / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            content = {
                "stage": stage.name,
                "command": list(stage.command),
                "seconds": 10.0,
                "versions": {"fairseq_lottery": "0.2.0"},
                **stage.facts,
                **({"measured": {}, "curves": []} if stage.kind in TRAINED else {}),
                **record,
            }
            (self.out / stage.folder).mkdir(parents=True, exist_ok=True)
            (self.out / stage.record).write_text(json.dumps(content))

    def interrupt(self, stage, update):
        """Leave what a training leaves that was killed after it had saved at ``update``."""
        folder = self.out / stage.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint_last.pt").touch()
        where = f"{folder}/checkpoint_last.pt (epoch 1 @ {update} updates, score None)"
        line = f"2026-01-01 | INFO | trainer | Saved checkpoint {where}\n"
        (self.out / stage.log).write_text(line)
        for file in stage.leaves:
            early = re.search(r"/snapshot_(\d+)\.", file)
            if early and int(early.group(1)) <= update:
                (self.out / file).touch()

    def write_plan(self):
        write_plan(self.plan, self.stages, self.work, "local")
        return json.loads((self.out / "plan.json").read_text())

    def emit(self, kind, jobs=1):
        """A script of the pending stages; ``plan.json`` is there then."""
        return emit(self.plan, self.stages, self.work, kind, jobs)


def dense(seed=1, train=TRAIN, updates=1000):
    """A dense training."""
    return Training(Flags.parse(train), seed, updates)


def vocabulary(sparsities=(0.5, 0.9), **changes):
    """What a technique is told in: rewinding to update 50, pruning from 0 to 800."""
    given = {
        "dense": dense(),
        "sparsities": tuple(sparsities),
        "rounds": tuple(sparsities),
        "rewind": 50,
        "rewind_source": "latest",
        "update_counter": "restart",
        "pruning": PruningSchedule(sparsity=0.0, start=0, end=800, every=20),
    }
    return Vocabulary(**{**given, **changes})
