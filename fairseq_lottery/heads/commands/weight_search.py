"""m-pruning: the search over single weights, whose result and controls are tickets."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import save_ticket
from fairseq_lottery.heads.commands.measurement import started
from fairseq_lottery.heads.commands.messages import record_of, tell
from fairseq_lottery.heads.measures.loaded_heads import LiveHeads
from fairseq_lottery.heads.measures.loaded_measures import Judged
from fairseq_lottery.heads.searches.search import m_pruning
from fairseq_lottery.heads.searches.subnetworks import weight_subnetworks
from fairseq_lottery.masks import Mask, full_mask
from fairseq_lottery.tickets import draw
from fairseq_lottery.tickets.draw import DrawPlan, Found

#: the prunable set: Prasanna et al. leave the embeddings alone
_PRUNABLE = "no-embeddings"
#: of what remains, and steps: a search ends because its metric is not enough any more
_STEP, _MOST = 0.1, 10_000


def refuse_stray(args: argparse.Namespace) -> None:
    """Refuse what a search over single weights does not have."""
    for name in ("one_shot", "to", "at_least", "parts", "normalise"):
        if getattr(args, name):
            flag = "--" + name.replace("_", "-")
            raise LotteryError(f"{flag} is about heads and units; do without it for weights")
    if args.enough == 0:
        raise LotteryError("--enough 0 would leave no weight; give a share above 0")
    if Path(args.out).suffix != ".safetensors":
        raise LotteryError(f"--out {args.out} will be tickets, whose names end in .safetensors")


def search_weights(args: argparse.Namespace, paths: Mapping[str, Path]) -> None:
    """Prune the smallest weights of all while enough is left; write the result and two controls."""
    made, sample, _ = started(args)
    full = _everything(made)
    judged = Judged(made, sample, args.metric, args.remove_bpe)
    weights = {name: made.source.weights[name] for name in full}
    step_size = _STEP if args.step is None else args.step
    rows, found = [], full
    for step in m_pruning(
        full, weights, judged.more_is_better, args.enough, step_size, most=_MOST
    ):
        pruned = step.choice.pruned
        rows.append({"pruned": pruned, "metric": step.metric, "enough": step.enough})
        tell(step, f"{pruned} of {full.prunable} weights pruned")
        found = step.choice if step.enough else found
    if not found.pruned:
        print(f"no step leaves {args.enough:g} of the metric: nothing is pruned in all three")
    record = record_of(args, weights=made.source.digest(), steps=rows)
    for name, mask in weight_subnetworks(found, weights, args.seed).items():
        plan = DrawPlan(
            mask_from=args.file, sparsity=mask.sparsity, scope="global", prunable=_PRUNABLE,
            reset="keep", seed=args.seed,
        )  # fmt: skip
        how = {"score": f"m-pruning-{name}", "score_source": mask.digest(), "search": record}
        ticket = draw(plan, found=Found(mask, how))
        save_ticket(paths[name], ticket, args.overwrite)
        print(f"{paths[name]}: {mask.pruned} of {mask.prunable} weights pruned")
        print(ticket.record["signature"])


def _everything(made: LiveHeads) -> Mask:
    """The mask that prunes nothing, of a model that a ticket can be drawn from.

    Raises:
        LotteryError: it is pruned already, had something cut out, or its dictionaries are unknown.
    """
    source = made.source
    source.find_dictionaries()
    if source.shapes != {name: tuple(weight.shape) for name, weight in made.weights.items()}:
        raise LotteryError(
            f"{source.path} had heads or units cut out; search in the whole model, which"
            " fairseq-lottery export --to dense gives"
        )
    if source.is_pruned:
        raise LotteryError(
            f"{source.path} is pruned already, and the search over weights starts from a dense"
            " model; prune it on with fairseq-lottery ticket"
        )
    return full_mask(source.shapes, _PRUNABLE)
