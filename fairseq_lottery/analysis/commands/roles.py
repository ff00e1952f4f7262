"""Find the roles of attention heads in a recording: local, syntactic, alignment, ..."""

import argparse
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.analysis.command_output import add_output, deliver, refuse_output, settings_of
from fairseq_lottery.errors import LotteryError

if TYPE_CHECKING:
    from fairseq_lottery.analysis.recording.recording import Recording
    from fairseq_lottery.analysis.registry import Row

EXAMPLE = """fairseq-lottery roles dense/recording --out dense/roles
  fairseq-lottery roles dense/recording --source-conllu valid.en.conllu --alignment valid.align
  fairseq-lottery roles sparse/recording --before dense/recording
  fairseq-lottery roles seed1/recording seed2/recording seed3/recording"""
REQUIRES = ("numpy", "scipy", "statsmodels")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``roles``."""
    add = parser.add_argument
    add("recordings", nargs="+", metavar="RECORDING", help="folder of fairseq-lottery record;"
        " several, of different seeds, for their agreement")  # fmt: skip
    add("--sieves", metavar="S,S", help="local, delimiter, diagonal, block, syntactic, alignment,"
        " cls and sep (of an encoder), or your own as package.module:function (all for which there"
        " are labels)")  # fmt: skip
    add("--window", type=int, default=2, metavar="N", help="words on each side in the local sieve"
        " (2)")  # fmt: skip
    add("--diagonal", type=float, default=0.1, metavar="S", help="distance of relative positions in"
        " the diagonal sieve (0.1)")  # fmt: skip
    for side in ("source", "target"):
        add(f"--{side}-conllu", metavar="FILE", help=f"parses of the {side}, for syntactic heads")
        add(f"--{side}-boundaries", metavar="FILE", help="numbers of the first words of the"
            f" sentences in each {side} example, for block heads")  # fmt: skip
    add("--separator", metavar="WORD", help="word between sentences of an example, for block heads")
    add("--entropy", action="store_true", help="multiply block scores by the entropy of the row, as"
        " published")  # fmt: skip
    add("--relations", metavar="R,R", help="relations of syntactic heads"
        " (nsubj,obj,dobj,amod,advmod)")  # fmt: skip
    add("--alignment", metavar="FILE", help="word alignment with lines such as 0-0 1-2, or the"
        " recording of another model")  # fmt: skip
    add("--alignment-layer", type=int, metavar="N", help="layer of that recording (the last but"
        " one)")  # fmt: skip
    add("--frequencies", metavar="FILE", help="lines of WORD COUNT, for rare-word heads (the words"
        " of the recording)")  # fmt: skip
    add("--weighted", action="store_true", help="sieve scores of attention that is weighted by the"
        " norms of values")  # fmt: skip
    add("--threshold", type=float, metavar="T", help="sieve score that a head with the role exceeds"
        " (2; with --as-published 3)")  # fmt: skip
    add("--thresholds", default="1,1.5,2,2.5,3,3.5", metavar="T,T", help="scores that are tested"
        " (1,1.5,2,2.5,3,3.5)")  # fmt: skip
    add("--level", type=float, default=0.05, metavar="P", help="largest p-value of a role (0.05)")
    add("--as-published", action="store_true", help="decide as Pande et al. do, without correction"
        " for many tests")  # fmt: skip
    add("--before", metavar="RECORDING", help="recording before pruning or fine-tuning: which heads"
        " gained, kept and lost roles, and the roles of survivors")  # fmt: skip
    add("--choice", metavar="FILE", help="choice of heads choose: the roles of survivors")
    add_output(parser)


def run(args: argparse.Namespace) -> None:
    """Find the roles, and print them."""
    from fairseq_lottery.analysis.recording.recording import Recording
    from fairseq_lottery.analysis.results import Results

    if len(args.recordings) > 1 and (args.before or args.choice):
        raise LotteryError("--before and --choice take one recording, not several; give one")
    refuse_output(args)
    recordings = [Recording.open(path) for path in args.recordings]
    others = [Recording.open(args.before)] if args.before else []
    _refuse_unlike([*recordings, *others])
    rows, lines = _compare_seeds(args, recordings) if len(recordings) > 1 else _describe(
        args, recordings[0], others[0] if others else None
    )  # fmt: skip
    settings = settings_of(args, "recordings", "before")
    inputs = {
        "recordings": [str(one.folder) for one in [*recordings, *others]],
        "weights": [one.record.weights for one in [*recordings, *others]],
        "settings": {name: value for name, value in settings.items() if value is not None},
    }
    deliver(Results("roles", inputs, rows), args, lines)


def _describe(
    args: argparse.Namespace, recording: "Recording", before: Optional["Recording"]
) -> tuple[list["Row"], list[str]]:
    """Return the rows and the text of one recording, and of what it is compared with."""
    from fairseq_lottery.analysis.roles import comparisons, role_labels, role_table

    rows = _rows(args, recording)
    labels = role_labels.RoleLabels.of(rows)
    heads = role_labels.heads_of_recording(recording)
    lines = [*role_table.role_grids(labels, heads), ""]
    for title, prefix in (("raw", "pattern"), ("weighted by norms of values", "weighted")):
        grids = role_table.pattern_grids(labels, heads, prefix)
        lines += [f"patterns of attention, {title}", *grids, ""]
    lines += role_table.role_counts(rows)
    lines += role_table.unreachable(rows, _rule(args).threshold)
    named = [{"measure": "role-counts", **row} for row in role_labels.count_rows(labels)]
    original = labels
    survivors = role_labels.survivors_of_recording(recording)
    if before is not None:
        original = role_labels.RoleLabels.of(_rows(args, before))
        changes = list(comparisons.change_rows(original, labels))
        named += [{"measure": "role-changes", **row} for row in changes]
        lines += ["", f"heads since {before.folder}", *role_table.change_lines(changes)]
        survivors &= role_labels.survivors_of_recording(before)
    if args.choice:
        survivors = role_labels.survivors_of_choice(args.choice, recording)
    if args.choice or (before is not None and survivors < original.heads):
        kept = list(comparisons.survivor_rows(original, survivors))
        named += [{"measure": "role-survivors", **row} for row in kept]
        columns = ("all-heads", "survivors", "p")
        lines += ["", "share of heads with each role", *role_table.comparison_lines(kept, columns)]
    return [*rows, *named], lines


def _compare_seeds(
    args: argparse.Namespace, recordings: list["Recording"]
) -> tuple[list["Row"], list[str]]:
    """Return the rows and the text of the agreement of several recordings."""
    from fairseq_lottery.analysis.roles import comparisons, role_labels, role_table

    labels = [role_labels.RoleLabels.of(_rows(args, one)) for one in recordings]
    rows: list[Row] = [
        {"measure": "role-agreement", **row} for row in comparisons.agreement_rows(labels)
    ]
    text = role_table.comparison_lines(rows, ("same", "jaccard", "kappa", "layers"))
    return rows, [f"agreement of {len(recordings)} models on the roles of heads", *text]


def _rows(args: argparse.Namespace, recording: "Recording") -> list["Row"]:
    """Return the rows of one recording."""
    from fairseq_lottery.analysis.roles.labels.word_counts import read_frequencies
    from fairseq_lottery.analysis.roles.rows.role_rows import role_rows
    from fairseq_lottery.analysis.roles.sieves import build_sieves

    settings = _settings(args)
    names = () if args.sieves is None else args.sieves.split(",")
    sieves = build_sieves(recording, names, settings)
    frequencies = read_frequencies(args.frequencies, recording) if args.frequencies else None
    parts = role_rows(recording, sieves, _rule(args), args.weighted, frequencies)
    return [{"measure": name, **row} for name, rows in parts.items() for row in rows]


def _settings(args: argparse.Namespace) -> Any:
    from fairseq_lottery.analysis.roles.sieve_settings import SieveSettings

    def by_side(name: str) -> dict[str, str]:
        paths = {side: getattr(args, f"{side}_{name}") for side in ("source", "target")}
        return {side: path for side, path in paths.items() if path}

    return SieveSettings(
        window=args.window,
        diagonal=args.diagonal,
        entropy=args.entropy,
        separator=args.separator,
        boundaries=by_side("boundaries"),
        parses=by_side("conllu"),
        relations=() if args.relations is None else tuple(args.relations.split(",")),
        alignment=args.alignment,
        alignment_layer=args.alignment_layer,
    )


def _rule(args: argparse.Namespace) -> Any:
    from fairseq_lottery.analysis.roles.role_tests import PUBLISHED_THRESHOLD
    from fairseq_lottery.analysis.roles.rows.sieve_rows import RoleRule

    try:
        thresholds = tuple(float(one) for one in args.thresholds.split(","))
    except ValueError:
        raise LotteryError(
            f"--thresholds {args.thresholds} must be numbers separated by commas"
        ) from None
    threshold = args.threshold
    if threshold is None:
        threshold = PUBLISHED_THRESHOLD if args.as_published else RoleRule.threshold
    return RoleRule(threshold, thresholds, args.level, args.as_published)


def _refuse_unlike(recordings: list["Recording"]) -> None:
    """Refuse recordings of other words, or of models with other layers or heads."""
    from fairseq_lottery.analysis.recording.recording import refuse_other_words

    first = recordings[0]
    for one in recordings[1:]:
        for name in ("layers", "heads"):
            counts = getattr(first.record, name), getattr(one.record, name)
            if counts[0] != counts[1]:
                raise LotteryError(
                    f"{one.folder} has {name} {counts[1]}, expected {counts[0]} as in"
                    f" {first.folder}; compare models of one architecture"
                )
        refuse_other_words(first, one)
