"""Attention heads and FFN units: measure which matter, choose which to prune, compare choices.

importance, ablate and curve run a model on its data. choose and search write a choice: which
components are pruned. fairseq-lottery ticket and fairseq-train prune it with --components; prune
writes the pruned model without any training. changes compares a trained model with the one before.
compare measures how far several choices, or two measures, agree.
"""

import argparse
import importlib

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import HEADS, Choice, Gradients, Importance, add_flags

EXAMPLE = """fairseq-lottery heads importance dense/checkpoint_best.pt --out scores.json
  fairseq-lottery heads choose --scores scores.json --strategy lowest --share 0.5 --out half.json
  fairseq-lottery ticket --mask-from dense/checkpoint_best.pt --components half.json --reset keep \\
      --out half.safetensors"""

#: step -> the module of this package that runs it, and what it does
STEPS = {
    "importance": ("measurement", "score all components by a measure"),
    "ablate": ("measurement", "measure the effect of pruning each head alone"),
    "choose": ("choice", "choose components to prune, by a strategy"),
    "combine": ("choice", "keep what several choices keep, as those of several seeds"),
    "prune": ("choice", "prune a choice in a trained model, without training"),
    "search": ("subnetwork_search", "prune step by step while the metric is high enough"),
    "curve": ("measurement", "measure the metric by pruned share, without training"),
    "changes": ("measurement", "measure how much a training has changed each head"),
    "compare": ("choice", "measure the agreement of choices, or of two measures"),
}
#: step -> its flags in an example
EXAMPLES = {
    "importance": "dense/checkpoint_best.pt --out scores.json",
    "ablate": "dense/checkpoint_best.pt --sentences 100 --out exact.json",
    "choose": "--scores scores.json --strategy lowest --share 0.5 --out half.json",
    "combine": "seed1/half.json seed2/half.json --survivors super --out super.json",
    "prune": "dense/checkpoint_best.pt --components half.json --out zero-shot.pt",
    "search": "dense/checkpoint_best.pt --kind heads --enough 0.95 --out found.json",
    "curve": "dense/checkpoint_best.pt --scores scores.json --out curve.json",
    "changes": "dense/checkpoint_best.pt half/checkpoint_best.pt --out changes.json",
    "compare": "seed1/half.json seed2/half.json seed3/half.json",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the steps and their flags."""
    steps = parser.add_subparsers(dest="action", metavar="STEP", required=True)
    added = {
        name: steps.add_parser(
            name,
            help=text,
            epilog=f"example:\n  fairseq-lottery heads {name} {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, (_, text) in STEPS.items()
    }
    added["changes"].add_argument("before", help="the model before training")
    for name, (module, _) in STEPS.items():
        if module != "choice":
            _add_model(added[name])
    for name in ("ablate", "search", "curve"):
        step = added[name]
        step.add_argument("--metric", default="loss", help="loss (nats per token), bleu (beam 5),"
                          " or a metric of the task, such as accuracy")  # fmt: skip
        step.add_argument("--remove-bpe", metavar="NAME", help="for BLEU, as in fairseq-generate")
    for name in ("choose", "curve", "compare"):
        added[name].add_argument("--kind", default="heads", help="heads, units or blocks")
    for name in ("choose", "curve"):
        _add_at_least(added[name], "components that each module keeps (0)")

    step = added["importance"]
    add_flags(step, Importance, Gradients, place=HEADS)
    step.add_argument(
        "--normalise", action="store_true", help="divide by the L2 norm of each layer"
    )

    step = added["ablate"]
    step.add_argument("--one-left", action="store_true", help="prune all heads of a layer but one")
    step.add_argument("--blocks", action="store_true", help="also prune FFN blocks")

    step = added["choose"]
    source = step.add_mutually_exclusive_group(required=True)
    source.add_argument("--scores", metavar="FILE", help="scores of importance or ablate")
    source.add_argument("--of", metavar="FILE", help="the model, for strategies without scores")
    add_flags(step, Choice, place=HEADS)
    step.add_argument("--share", type=float, metavar="S", help="share of the components that are"
                      " pruned in the result")  # fmt: skip
    step.add_argument("--count", type=int, metavar="N", help="number of components that are"
                      " pruned in the result")  # fmt: skip
    step.add_argument("--keep", nargs="+", metavar="TYPE=N,N", help="number of components that"
                      " each layer of a type keeps, as enc_self=4,2,1; by the strategy lowest,"
                      " highest or random within a layer")  # fmt: skip
    step.add_argument("--types", metavar="T,T", help="only these types: enc_self, dec_self,"
                      " enc_dec (heads), enc_ffn, dec_ffn")  # fmt: skip
    step.add_argument("--uniform", action="store_true", help="pruned heads attend evenly instead of"
                      " giving zero")  # fmt: skip
    step.add_argument("--seed", type=int, default=1, help="seed of random strategies (1)")
    step.add_argument("--roles", metavar="DIR", help="for the strategy role: the results of"
                      " fairseq-lottery roles, or their roles.csv")  # fmt: skip
    step.add_argument("--role", metavar="ROLE", help="prune heads with this role first, such as"
                      " local: the best fit, or with --scores the lowest score")  # fmt: skip
    step.add_argument("--without-role", metavar="ROLE", help="prune heads without this role"
                      " first")  # fmt: skip
    _add_start(step)

    step = added["combine"]
    step.add_argument("files", nargs="+", metavar="CHOICE", help="choices for one model")
    step.add_argument("--survivors", required=True, help="super (components that all choices keep),"
                      " anti (that all prune) or average (that the most keep)")  # fmt: skip
    step.add_argument("--share", type=float, metavar="S", help="for average: share of the"
                      " components that is pruned (as in the mean of the choices)")  # fmt: skip
    step.add_argument("--count", type=int, metavar="N", help="for average: number of components"
                      " that are pruned")  # fmt: skip
    step.add_argument("--kind", help="only heads, units or blocks (all kinds that some choice"
                      " prunes)")  # fmt: skip
    step.add_argument("--types", metavar="T,T", help="only these types, as given to heads"
                      " choose")  # fmt: skip
    step.add_argument("--seed", type=int, default=1, help="for average: seed of the order of"
                      " components that equally many choices keep (1)")  # fmt: skip
    _add_out(step, "JSON")

    step = added["prune"]
    step.add_argument("file", help="checkpoint or compact file")
    step.add_argument("--components", required=True, metavar="FILE", help="the choice to prune")
    _add_out(step, "checkpoint")

    step = added["search"]
    step.add_argument("--enough", type=float, default=0.9, metavar="S", help="share of the"
                      " full model's metric that is enough (0.9); a loss is taken as"
                      " exp(-loss)")  # fmt: skip
    step.add_argument("--kind", help="prune only heads, units or blocks, in equal steps, or"
                      " weights, for tickets; without --kind, run the three phases of Prasanna"
                      " et al.")  # fmt: skip
    step.add_argument("--step", type=float, metavar="S", help="with --kind: share to prune per"
                      " step (0.1); for weights, a share of the survivors")  # fmt: skip
    step.add_argument("--to", type=float, metavar="S", help="with --kind: stop at this pruned"
                      " share; with --enough 0, whatever the metric is")  # fmt: skip
    step.add_argument("--one-shot", action="store_true", help="with --kind: estimate importance"
                      " once, not at each step")  # fmt: skip
    add_flags(step, Gradients, place=HEADS)
    step.add_argument("--normalise", action="store_true", help="divide by the L2 norm of each"
                      " layer, as in the papers")  # fmt: skip
    _add_at_least(step, "heads that each layer keeps (0)")
    step.add_argument(
        "--seed", type=int, default=1, help="seed of the random and bad subnetworks (1)"
    )

    step = added["curve"]
    step.add_argument("--scores", metavar="FILE", help="scores for strategies that rank")
    step.add_argument("--strategies", default="lowest,highest,random", metavar="A,B",
                      help="strategies to compare")  # fmt: skip
    step.add_argument("--shares", default="0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9", metavar="S,S",
                      help="shares to prune, one measurement each")  # fmt: skip
    step.add_argument(
        "--seeds", default="1,2", metavar="N,N", help="seeds of random strategies (1,2)"
    )

    step = added["changes"]
    step.add_argument("--control", metavar="FILE", help="model after an equally long training"
                      " without pruning; its changes are subtracted")  # fmt: skip
    step.add_argument("--of", default="weights", help="weights, attention or importance")
    add_flags(step, Gradients, place=HEADS)

    step = added["compare"]
    step.add_argument("files", nargs="+", metavar="FILE", help="choices, two files of scores, or"
                      " files NAME-importance.json of heads search; choices of several tasks as"
                      " TASK=FILE")  # fmt: skip
    step.add_argument("--types", metavar="T,T", help="for choices: compare only these types,"
                      " as given to heads choose; chance is computed over them, too")  # fmt: skip
    step.add_argument("--json", action="store_true", help="print JSON")


def _add_model(step: argparse.ArgumentParser) -> None:
    step.add_argument("file", help="checkpoint, compact file, ticket or snapshot")
    step.add_argument("--data", metavar="FOLDER", help="data folder (that of the training)")
    step.add_argument("--subset", default="valid", help="subset of the data (valid)")
    step.add_argument(
        "--sentences", type=int, metavar="N", help="number of sentences, evenly spread (all)"
    )
    step.add_argument(
        "--max-tokens", type=int, default=4096, metavar="N", help="tokens of a batch (4096)"
    )
    step.add_argument("--cpu", action="store_true", help="do not use a GPU")
    add_user_dir(step)
    _add_start(step)


def _add_at_least(step: argparse.ArgumentParser, text: str) -> None:
    step.add_argument("--at-least", type=int, default=0, metavar="N", help=text)


def _add_start(step: argparse.ArgumentParser) -> None:
    step.add_argument("--components", metavar="FILE", help="a choice to start from")
    _add_out(step, "JSON")


def _add_out(step: argparse.ArgumentParser, content: str) -> None:
    step.add_argument("--out", required=True, metavar="FILE", help=f"{content} to write")
    step.add_argument("--overwrite", action="store_true", help="replace an existing --out")


def run(args: argparse.Namespace) -> None:
    """Run the step."""
    from fairseq_lottery.environment import require
    from fairseq_lottery.files import model_file, refuse_missing

    module = STEPS[args.action][0]
    models = (getattr(args, name, None) for name in ("before", "file", "control"))
    refuse_missing(*map(model_file, models))
    require("torch", "numpy", "safetensors", "zstandard")
    if module != "choice":
        require("fairseq", "sacrebleu")
        import fairseq  # noqa: F401 - before the plugin, which registers with it

        import_user_module(args.user_dir)
    if args.action == "compare":
        require("scipy", "statsmodels")
    steps = importlib.import_module(f"{__name__}.{module}")
    try:
        getattr(steps, args.action)(args)
    except RuntimeError as error:  # torch 1.12 has no class of its own for it
        if "out of memory" not in str(error):
            raise
        raise LotteryError(
            "the GPU has too little memory; give a smaller --max-tokens (which does not bound"
            " BLEU), or --cpu"
        ) from error
