"""Probe recordings: how well a linear model predicts labels of words from each layer."""

import argparse
from typing import Any

from fairseq_lottery.analysis.command_output import add_output, deliver, refuse_output, settings_of
from fairseq_lottery.errors import LotteryError

EXAMPLE = """fairseq-lottery probe dense/recording slt/recording --labels valid.en.conllu:upos,arc
  fairseq-lottery probe dense/recording --labels valid.en.entities --f1 PER --f1 LOC"""
REQUIRES = ("torch", "numpy", "sklearn", "tqdm")
#: most labels of a message
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``probe``."""
    add = parser.add_argument
    add("recordings", nargs="+", metavar="RECORDING", help="folders of record, one of each model")
    labels = "[NAME=]FILE[:TASK,...]"
    add("--labels", action="append", default=[], metavar=labels, help="labels of source words, for"
        " the encoder: CoNLL-U (tasks: upos, xpos, deprel, arc, relation, a feature or an entry of"
        " MISC), columns (tasks: numbers of columns), word TAB label, or pairs i TAB j TAB label;"
        " {subset} in FILE is replaced by the recording's subset")  # fmt: skip
    add("--target-labels", action="append", default=[], metavar=labels,
        help="the same for target words, for the decoder")  # fmt: skip
    add("--alignment", action="append", default=[], metavar="[NAME=]FILE",
        help="links i-j of source and target words, a line for each sentence")  # fmt: skip
    add("--scores", action="append", default=[], metavar="TASK",
        help="the labels of this task are numbers: ridge regression, Pearson's r")  # fmt: skip
    add("--f1", action="append", default=[], metavar="LABEL", help="also print the F1 of this"
        " label, or type of spans; --out and --json have it of all labels")  # fmt: skip
    add("--format", help="format of label files: conllu, columns or pairs (found by their lines)")
    add("--dev", nargs="+", default=[], metavar="RECORDING", help="recordings for early stopping,"
        " in the order of the models; with --test")  # fmt: skip
    add("--test", nargs="+", default=[], metavar="RECORDING", help="recordings for the scores")
    add("--shares", default="0.8,0.1,0.1", help="without --dev and --test: shares of the sentences"
        " for training, development and test (0.8,0.1,0.1)")  # fmt: skip
    add("--split-seed", type=int, default=1, metavar="N", help="seed of this division, and of"
        " negative pairs (1)")  # fmt: skip
    add("--seeds", default="1,2,3", help="seeds of the probes (1,2,3)")
    add("--solver", default="adam", help="adam: schedule of Liu et al. 2019; exact: scikit-learn"
        " (adam)")  # fmt: skip
    add("--learning-rate", type=float, default=1e-3, metavar="X", help="of adam (0.001)")
    add("--batch", type=int, default=80, metavar="N", help="words or pairs of a batch (80)")
    add("--batch-sentences", action="store_true", help="--batch counts sentences")
    add("--epochs", type=int, default=50, metavar="N", help="most epochs (50)")
    add("--patience", type=int, default=3, metavar="N", help="stop after N epochs without a better"
        " score on the development part (3)")  # fmt: skip
    add("--no-control", action="store_true", help="do not train on control labels")
    add("--group", action="append", default=[], metavar="NAME=TASK,...", help="also average the"
        " scores of these tasks, as percentages from the mean of each task")  # fmt: skip
    add_output(parser)


def run(args: argparse.Namespace) -> None:
    """Probe all layers, and print the scores."""
    if not (args.labels or args.target_labels or args.alignment):
        raise LotteryError("there are no labels; give --labels, --target-labels or --alignment")
    refuse_output(args)
    from tqdm import tqdm

    from fairseq_lottery.analysis.probing.groups import relative_scores
    from fairseq_lottery.analysis.probing.probe import probe
    from fairseq_lottery.analysis.probing.session import LabelSource, ProbeSession
    from fairseq_lottery.analysis.probing.table import group_lines, score_lines
    from fairseq_lottery.analysis.results import Results

    settings, groups = _settings(args), _groups(args.group)
    kinds = {"source": args.labels, "target": args.target_labels, "alignment": args.alignment}
    session = ProbeSession(
        [LabelSource.parse(text, kind) for kind, texts in kinds.items() for text in texts],
        args.scores,
        args.format,
        _numbers("--shares", args.shares, float),
        args.split_seed,
    )
    models = _recordings(args)
    by_model = {name: session.portions(recordings) for name, recordings in models.items()}
    _refuse_groups(groups, next(iter(by_model.values())))
    _refuse_labels(args.f1, next(iter(by_model.values())))
    total = sum(
        len(one.train.recording.layers(one.train.task.part))
        for portions in by_model.values()
        for one in portions
    )
    rows: list[dict[str, Any]] = []
    with tqdm(total=total, unit=" layers", disable=None) as bar:
        for name, portions in by_model.items():
            for one in portions:
                found = probe(one, settings, bar.update)
                rows += [{"model": name, **row} if len(models) > 1 else dict(row) for row in found]
    relative = relative_scores(rows, groups) if groups or len(models) > 1 else []
    inputs = {
        "recordings": {name: one[0].record.weights for name, one in models.items()},
        "labels": session.digests(),
        "examples": {
            one.train.task.name: dict(zip(("train", "dev", "test"), map(len, one.tasks)))
            for one in next(iter(by_model.values()))
        },
        "settings": settings_of(args, "recordings"),
    }
    results = Results("probe", inputs, [*rows, *relative])
    groups_text = ["", *group_lines(relative)] if relative else []
    deliver(results, args, [*score_lines(rows, args.f1), *groups_text])


def _settings(args: argparse.Namespace) -> Any:
    from fairseq_lottery.analysis.probing.linear_probe import Schedule
    from fairseq_lottery.analysis.probing.probe import SOLVERS, ProbeSettings

    if args.solver not in SOLVERS:
        raise LotteryError(f"--solver {args.solver} is unknown; choose from {', '.join(SOLVERS)}")
    for flag in ("learning_rate", "batch", "epochs", "patience"):
        if not 0 < getattr(args, flag) < float("inf"):
            name = flag.replace("_", "-")
            raise LotteryError(f"--{name} {getattr(args, flag)} is out of range; give more than 0")
    schedule = Schedule(
        args.learning_rate, args.batch, args.epochs, args.patience, args.batch_sentences
    )
    seeds = _numbers("--seeds", args.seeds, int)
    if len(set(seeds)) < len(seeds):
        raise LotteryError(f"--seeds {args.seeds} has a seed twice")
    return ProbeSettings(seeds, args.solver, schedule, not args.no_control)


def _recordings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the name of each model, and its recordings for training, development and test."""
    from fairseq_lottery.analysis.recording.recording import Recording

    if bool(args.dev) != bool(args.test):
        raise LotteryError("--dev and --test require each other; give both or none")
    for flag, folders in (("--dev", args.dev), ("--test", args.test)):
        if folders and len(folders) != len(args.recordings):
            raise LotteryError(
                f"{flag} has {len(folders)} recordings for {len(args.recordings)} models; give one"
                " for each model, in the same order"
            )
    if len(set(args.recordings)) < len(args.recordings):
        raise LotteryError("a recording is given twice; give each once")
    folders = zip(args.recordings, *filter(None, (args.dev, args.test)))
    return {one[0]: [Recording.open(folder) for folder in one] for one in folders}


def _groups(texts: list[str]) -> dict[str, list[str]]:
    groups = {}
    for text in texts:
        name, equals, tasks = text.partition("=")
        if not (name and equals and all(tasks.split(","))):
            raise LotteryError(f"--group {text} is malformed; give NAME=TASK,TASK")
        groups[name] = tasks.split(",")
    return groups


def _refuse_groups(groups: dict[str, list[str]], portions: Any) -> None:
    """Refuse groups of other tasks, or of encoder and decoder, before hours of training."""
    parts = {one.train.task.name: one.train.task.part for one in portions}
    for name, tasks in groups.items():
        for task in tasks:
            if task not in parts:
                raise LotteryError(
                    f"--group {name} has the task {task!r}; choose from {', '.join(parts)}"
                )
        if len({parts[task] for task in tasks}) > 1:
            raise LotteryError(
                f"--group {name} has tasks of encoder and decoder; name a group for each"
            )


def _refuse_labels(labels: list[str], portions: Any) -> None:
    """Refuse labels without an F1, before hours of training."""
    from fairseq_lottery.analysis.probing.label_scores import labels_of

    known = sorted({label for one in portions for label in labels_of(one.test.task)})
    for label in labels:
        if label not in known:
            more = ", ..." if len(known) > _SHOWN else ""
            raise LotteryError(
                f"--f1 {label} is not a label of the test sentences; choose from"
                f" {', '.join(known[:_SHOWN]) or 'none'}{more}"
            )


def _numbers(flag: str, text: str, kind: Any) -> Any:
    try:
        return tuple(kind(number) for number in text.split(","))
    except ValueError:
        raise LotteryError(f"{flag} {text} is malformed; separate numbers by commas") from None
