"""The introduction of a report: a summary, and how to read it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from itertools import takewhile

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.plan import WEIGHTS
from fairseq_lottery.report.pages import Block, Heading, Points, Text
from fairseq_lottery.report.reading.families import families, title_of_plan, views
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.recipe_titles import differing_entries
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.sections import Tests
from fairseq_lottery.report.statistics.significance import LEVEL, Comparison
from fairseq_lottery.report.tables.score_tables import cell_text
from fairseq_lottery.report.tables.transfer_tables import universal_text

_AT_ONCE = "pruned before fine-tuning"
_STATIC = "static random mask"
#: terms that contain other terms, which are looked for without them
_LONGER = (_AT_ONCE, _STATIC)
#: term in titles of techniques -> its meaning
_TERMS = {
    "MP": "magnitude pruning: one training, during which the smallest weights are pruned under a"
    " pruning schedule.",
    "LT": "lottery ticket: as SLT, but survivors are reset to their values before training"
    " (update 0).",
    "SLT": "stabilized lottery ticket: in every round, the smallest weights of the trained model"
    " are pruned, and the survivors are reset to their values at an early update t and retrained.",
    "CLT": "constant lottery ticket: as SLT, but only the signs of the weights are reset, with one"
    " magnitude per matrix.",
    "SLT-MP": "SLT in two rounds to a medium sparsity, then MP from that ticket.",
    "MP-SLT": "MP to a medium sparsity, then SLT rounds that start from its mask.",
    "MP with regrowth": "MP, but pruned weights keep their values, are ranked with the others at"
    " each step, and may regrow.",
    "GraNet": "gradual pruning; at each step the smallest weights are pruned, and as many of those"
    " with the largest gradients regrow.",
    "movement pruning": "gradual pruning of the weights that move towards zero during training.",
    "SET": "sparse from the start: the smallest weights of a random mask are pruned, and as many"
    " random ones regrow.",
    "RigL": "sparse from the start: the smallest weights of a random mask are pruned, and as many"
    " of those with the largest gradients regrow.",
    "RigL-ITOP": "RigL with larger exchanges, so that more weights are trained at some time.",
    _STATIC: "control: one training under a random mask that never changes.",
    "SNIP": "the mask is computed before training, by the effect of each weight on the loss.",
    "FORCE": "the mask is computed before training, by the effect of each weight on the loss, in"
    " rounds in which pruned weights may regrow.",
    "GraSP": "the mask is computed before training, so that gradients stay large.",
    "SynFlow": "the mask is computed before training, without data, by the flow through each"
    " weight.",
    "Wanda": "the trained dense model is pruned by magnitude times the norm of the input.",
    "SparseGPT": "the trained dense model is pruned by the error that a layer cannot make up for.",
    "IMP": "iterative magnitude pruning: rounds as in SLT, ranked over all matrices together.",
    "LR rewinding": "learning-rate rewinding: the trained weights are kept, and only the learning"
    " rate is rewound to update t.",
    "fine-tuning": "the trained weights are kept, and training continues at a small constant rate.",
    "one-shot": "every sparsity is drawn directly from the dense model, without rounds.",
    "random mask": "control: as SLT, but with random masks. A technique that is not better than"
    " this control does not benefit from its selection of weights.",
    "random reinit": "control: the masks of SLT on new random weights. It shows whether the weights"
    " of a ticket matter, or only its mask.",
    "random signs": "control: the masks and magnitudes of CLT with random signs.",
    "s-pruning": "a search that prunes the least important heads and FFN blocks step by step, while"
    " enough of the metric is kept. Good is its result; random and bad choices are controls.",
    "m-pruning": "the same search over single weights.",
    "lowest": "the heads or FFN units of the lowest importance are pruned.",
    "gates": "Hard Concrete gates learn which heads or FFN units are kept.",
    "zero-shot": "the model is not trained after heads or FFN units are pruned.",
    "fine-tune": "training of the kept components continues at a small constant rate.",
    "rewind": "the kept components are reset to update t and retrained.",
    "scratch": "the kept components are trained from new random weights.",
    "mask of": "masks of another data set, trained from this one's start weights.",
    "shuffled layers": "control: the masks of a technique, with start weights of other layers.",
    "fresh weights": "control: the masks of a technique, with new weights of the initialiser.",
    "noise": "control: the masks of a technique, with start weights plus normal noise of k times"
    " their standard deviation.",
    "masks of pairs": "each pair of languages has its own mask in one model, and pairs share the"
    " weights that their masks share (LaSS). Sparsity 0 is the dense model, trained further in the"
    " same way.",
    _AT_ONCE: "control: the pre-trained weights are pruned by magnitude at once, without a task,"
    " and the rest is fine-tuned.",
}


def outcomes(groups: Sequence[Group], tests: Sequence[Tests]) -> list[Block]:
    """Return a paragraph of results for each group, by BLEU if it has BLEU."""
    blocks: list[Block] = [Heading(2, "Summary")]
    for family in families(groups):
        universal = [universal_text(family, view) for view in views(family)[:1]]
        blocks += [Text(f"{family.title}. {sentence}") for sentence in universal if sentence]
    texts = []
    for group, group_tests in zip(groups, tests):
        first = next(iter(group_tests), None)
        key = next((key for key in group_tests if key.metric == "BLEU"), first)
        if key is not None:
            start = f"{group.title}. " if len(groups) > 1 else ""
            findings, explanation = _outcome(group, key, group_tests[key][0])
            texts.append((group, start + findings, explanation))
    # the longest explanation is the only one of brackets, if any summary has them
    explained = max(range(len(texts)), key=lambda n: (len(texts[n][2]), n), default=0)
    for number, (group, findings, explanation) in enumerate(texts):
        is_repeated = group.data_set is not None and number != explained
        blocks.append(Text(findings if is_repeated else findings + explanation))
    return blocks


def _outcome(group: Group, key: Evaluation, comparisons: Sequence[Comparison]) -> tuple[str, str]:
    """Return up to which share each technique holds the dense model's score, and what it means."""
    start, dense = f"{key.title}.", group.values(key, DENSE, 0.0)
    tests = [each for each in comparisons if DENSE in (each.a, each.b)]
    if not dense or not tests:
        return f"{start} No technique was tested against the dense model.", ""
    digits = group.decimals(key)
    holds: dict[str, list[str]] = {}
    nowhere = f"Hold at no {group.words.share}"
    for name in group.techniques:
        held, tested = _held(group, [each for each in tests if name in (each.a, each.b)])
        if not held:
            reach = nowhere
            text = group.title_of(name)
        else:
            last = ", the last row" if held == tested else ""
            reach = f"Hold up to {group.label_of(held[-1])} % {group.words.column}{last}"
            gap = statistics.fmean(group.values(key, name, held[-1])) - statistics.fmean(dense)
            text = f"{group.title_of(name)} ({round(gap, digits) + 0.0:+.{digits}f})"
        if tested:
            holds.setdefault(reach, []).append(text)
    if nowhere in holds:
        holds[nowhere] = holds.pop(nowhere)  # the last sentence
    methods = []
    if not all(each.is_within_seed for each in tests):
        methods.append(f"a paired t-test over {len(group.seeds)} seeds")
    seeds = len({each.seed for each in tests if each.is_within_seed})
    if seeds:
        of_seeds = {1: "with one seed", 2: "in both seeds"}.get(seeds, f"in most of {seeds} seeds")
        methods.append(f"sacreBLEU's paired bootstrap over the sentences {of_seeds}")
    findings = [
        f"{start} The dense model has {cell_text(dense, len(dense), digits)}"
        f" ({len(dense)} {'seed' if len(dense) == 1 else 'seeds'}).",
        *(f"{reach}: {'; '.join(titles)}." for reach, titles in holds.items()),
    ]
    brackets = " In brackets: the mean difference to the dense model in that row."
    explanation = (
        f"{'' if set(holds) <= {nowhere} else brackets} A technique holds up to a row if no test"
        " finds a drop below the dense model in it or in the rows before:"
        f" {' or '.join(methods)} (p < {LEVEL:g}, adjusted for all pairs of a row). This does not"
        " prove that there is no drop; the intervals below show how large it may be."
    )
    return " ".join(findings), explanation


def _held(group: Group, tests: Sequence[Comparison]) -> tuple[list[float], list[float]]:
    """Return the shares before the first drop of a technique, and all tested shares."""
    drops: dict[tuple[float, str], list[bool]] = {}
    for each in tests:
        gap = each.difference if each.a == DENSE else -each.difference
        worse = gap < 0 if each.evaluation.lower_is_better else gap > 0
        drops.setdefault((each.sparsity, each.test), []).append(each.is_different and worse)
    tested = sorted({share for share, _ in drops}, key=group.sparsities.index)
    lost = {share for (share, _), worse in drops.items() if 2 * sum(worse) > len(worse)}
    return list(takewhile(lambda share: share not in lost, tested)), tested


def how_to_read(groups: Sequence[Group]) -> list[Block]:
    """Return the section that explains terms, and which runs have separate tables."""
    blocks: list[Block] = [Heading(2, "How to read it")]
    titles = "\n".join(title for group in groups for title in group.techniques.values())
    other_titles = titles
    for longer in _LONGER:
        other_titles = other_titles.replace(longer, "")
    terms = [
        f"{term}: {meaning}"
        for term, meaning in _TERMS.items()
        if re.search(
            rf"(?<!\w){re.escape(term)}(?!\w)", titles if term in _LONGER else other_titles
        )
    ]
    blocks += [Points(terms)] if terms else []
    recipes = list({group.number: group for group in groups}.values())
    blocks += _separate_recipes(recipes) if len(recipes) > 1 else []
    if len(recipes) < len(groups):
        kinds = ", ".join(dict.fromkeys(group.words.title for group in groups))
        blocks.append(
            Text(
                "Techniques with different kinds of shares do not share a table, a plot or a test:"
                f" they have separate sections ({kinds}), each with the dense model."
            )
        )
    text = "The report calls techniques different only if a test finds a difference."
    if any(group.rows == WEIGHTS for group in groups):
        text += (
            " Sparsity is the share of the prunable weights that is pruned; each table names the"
            " prunable weights."
        )
    return [*blocks, Text(text)]


def _separate_recipes(recipes: Sequence[Group]) -> list[Block]:
    """Return why there are several sections, and what differs between their recipes."""
    text = "Runs of different recipes do not share a table. The recipes differ in:"
    if title_of_plan(recipes) is not None:
        text = (
            "Each data set has a section of its own, with its own full model (dense). Scores of"
            " different data sets are compared only as differences to these. The data sets are:"
        )
    settings = [
        {k: value for k, value in each.recipe.items() if k != "task" or each.data_set is None}
        for each in recipes
    ]
    items = []
    for each, entries in zip(recipes, differing_entries(settings)):
        about = entries or f"compared with {each.published or 'no published figures'}"
        if each.data_set is not None:
            about = "; ".join(filter(None, (f"task {each.data_set.task}", entries)))
        items.append(f"{each.recipe_title}: {about}")
    return [Text(text), Points(items)]
