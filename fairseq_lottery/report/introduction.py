"""What stands before the groups of a report: what came out, and how to read it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from itertools import takewhile

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.plan import WEIGHTS
from fairseq_lottery.report.pages import Block, Heading, Points, Text
from fairseq_lottery.report.reading.recipe_groups import Group, differing_entries
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.sections import Tests
from fairseq_lottery.report.statistics.significance import BOOTSTRAP, LEVEL, SEEDS, Comparison
from fairseq_lottery.report.tables.score_tables import LOWER_IS_BETTER, cell_text, decimals

#: as in titles of techniques -> what it is
_TERMS = {
    "MP": "magnitude pruning: one training, during which more and more of the smallest weights are"
    " pruned.",
    "LT": "lottery ticket: as SLT, but back to the values before training (update 0).",
    "SLT": "stabilized lottery ticket: rounds in which the smallest weights of the trained model"
    " are pruned, and the others go back to their values at an early update t and train again.",
    "CLT": "constant lottery ticket: as SLT, but only the signs of the weights go back, with one"
    " magnitude per matrix.",
    "SLT-MP": "SLT in two steps to a medium sparsity, then MP from that ticket on.",
    "MP-SLT": "MP to a medium sparsity, then SLT rounds with its mask.",
    "IMP": "iterative magnitude pruning: rounds as of SLT, over all matrices as one.",
    "LR rewinding": "learning-rate rewinding: the trained weights are kept, only the schedule goes"
    " back to update t.",
    "fine-tuning": "the trained weights are kept and trained on at a small constant rate.",
    "one-shot": "every sparsity is drawn from the dense model at once, without rounds.",
    "random mask": "control: as SLT, but which weights are pruned is drawn at random. A technique"
    " that is not better than this control owes nothing to its choice of weights.",
    "random reinit": "control: the masks of SLT on new random weights. It shows whether the weights"
    " of a ticket matter, or its mask alone.",
    "random signs": "control: the masks and magnitudes of CLT with random signs.",
    "s-pruning": "a search that closes the least important heads and FFN blocks step by step, while"
    " enough of the metric is kept (good), with random and the worst choices as controls.",
    "m-pruning": "the same search over single weights.",
    "lowest": "the heads or FFN units of the lowest importance are closed.",
    "gates": "which heads or FFN units stay open was learned, by Hard Concrete gates.",
    "zero-shot": "nothing is trained after heads or FFN units are closed.",
    "fine-tune": "what stays open is trained on at a small constant rate.",
    "rewind": "what stays open goes back to update t and is trained again.",
    "scratch": "what stays open is trained from new random weights.",
}


def outcomes(groups: Sequence[Group], tests: Sequence[Tests]) -> list[Block]:
    """What came out: a paragraph a group, of its BLEU where it has one."""
    blocks: list[Block] = [Heading(2, "What came out")]
    for group, own in zip(groups, tests):
        key = next((key for key in own if key.metric == "BLEU"), next(iter(own), None))
        if key is not None:
            start = f"{group.title}. " if len(groups) > 1 else ""
            blocks.append(Text(start + _outcome(group, key, own[key][0])))
    return blocks


def _outcome(group: Group, key: Evaluation, comparisons: Sequence[Comparison]) -> str:
    """How far each technique holds against the dense model, with the tests."""
    start, dense = f"{key.title}.", group.values(key, DENSE, 0.0)
    tests = [each for each in comparisons if DENSE in (each.a, each.b)]
    if not dense or not tests:
        return f"{start} No technique was tested against the dense model, so none is said to hold."
    digits = decimals(group.tables[key].values())
    holds: dict[str, list[str]] = {}
    for name in group.techniques:
        held, tested = _held(group, [each for each in tests if name in (each.a, each.b)])
        if not held:
            reach = f"Hold at no {group.words.share}"
            text = group.title_of(name)
        else:
            last = ", the last row" if held == tested else ""
            reach = f"Hold up to {group.label_of(held[-1])} % {group.words.column}{last}"
            gap = statistics.fmean(group.values(key, name, held[-1])) - statistics.fmean(dense)
            text = f"{group.title_of(name)} ({round(gap, digits) + 0.0:+.{digits}f})"
        if tested:
            holds.setdefault(reach, []).append(text)
    how = []
    if any(each.test == SEEDS for each in tests):
        how.append(f"a paired t-test over {len(group.seeds)} seeds")
    seeds = len({each.seed for each in tests if each.test == BOOTSTRAP})
    if seeds:
        of_seeds = {1: "with one seed", 2: "in both seeds"}.get(seeds, f"in most of {seeds} seeds")
        how.append(f"sacreBLEU's paired bootstrap over the sentences {of_seeds}")
    return " ".join(
        [
            f"{start} The dense model has {cell_text(dense, len(dense), digits)}"
            f" ({len(dense)} {'seed' if len(dense) == 1 else 'seeds'}).",
            *(f"{reach}: {'; '.join(titles)}." for reach, titles in holds.items()),
            "In brackets: the mean difference to the dense model there. A technique holds up to a"
            " row if no drop below the dense model is found in it and the rows before, by"
            f" {' or '.join(how)} (p < {LEVEL:g}, adjusted for all pairs of a row). That does not"
            " prove that there is no drop: the intervals below say how large it may be.",
        ]
    )


def _held(group: Group, tests: Sequence[Comparison]) -> tuple[list[float], list[float]]:
    """The shares up to the first at which one technique drops, and all that were tested."""
    drops: dict[tuple[float, str], list[bool]] = {}
    for each in tests:
        gap = each.difference if each.a == DENSE else -each.difference
        worse = gap < 0 if each.evaluation.metric in LOWER_IS_BETTER else gap > 0
        drops.setdefault((each.sparsity, each.test), []).append(each.found and worse)
    tested = sorted({share for share, _ in drops}, key=group.sparsities.index)
    lost = {share for (share, _), found in drops.items() if 2 * sum(found) > len(found)}
    return list(takewhile(lambda share: share not in lost, tested)), tested


def how_to_read(groups: Sequence[Group]) -> list[Block]:
    """How to read the report: abbreviations, and what is kept apart."""
    blocks: list[Block] = [Heading(2, "How to read it")]
    titles = "\n".join(title for group in groups for title in group.techniques.values())
    terms = [
        f"{term}: {meaning}"
        for term, meaning in _TERMS.items()
        if re.search(rf"(?<!\w){re.escape(term)}(?!\w)", titles)
    ]
    blocks += [Points(terms)] if terms else []
    recipes = list({group.number: group for group in groups}.values())
    if len(recipes) > 1:
        blocks.append(
            Text("Runs of different recipes do not share a table. What tells the recipes apart:")
        )
        telling = differing_entries([each.recipe for each in recipes])
        blocks.append(
            Points(
                [
                    f"{each.recipe_title}: "
                    + (entries or f"compared with {each.published or 'no published figures'}")
                    for each, entries in zip(recipes, telling)
                ]
            )
        )
    if len(recipes) < len(groups):
        kinds = ", ".join(dict.fromkeys(group.words.title for group in groups))
        blocks.append(
            Text(
                "Techniques whose shares are of different things never share a table, a plot or a"
                f" test: they have sections of their own ({kinds}), each with the dense model."
            )
        )
    text = "A difference is called one only where a test finds it."
    if any(group.rows == WEIGHTS for group in groups):
        text += (
            " Sparsity is the share of the prunable weights that is removed; each table says which"
            " weights these are."
        )
    return [*blocks, Text(text)]
