"""Attention heads and FFN units: measure which matter, choose which to close, compare choices.

importance, ablate and curve run a model on its data; choose and search write a choice, which
fairseq-lottery ticket --parts and fairseq-train --parts close, and close without any training;
changes holds a trained model against the one before; compare asks whether several choices, or
measures, agree.
"""

import argparse
import importlib

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import HEADS, Choice, Gradients, Importance, add_flags

EXAMPLE = """fairseq-lottery heads importance dense/checkpoint_best.pt --out scores.json
  fairseq-lottery heads choose --scores scores.json --strategy lowest --share 0.5 --out half.json
  fairseq-lottery ticket --mask-from dense/checkpoint_best.pt --parts half.json --reset keep \\
      --out half.safetensors"""

#: step -> the module of this room that takes it, and what it does
STEPS = {
    "importance": ("measurement", "scores of all parts, by a measure"),
    "ablate": ("measurement", "what closing each head alone really changes"),
    "choose": ("choice", "close a share of the parts by a strategy"),
    "close": ("choice", "a trained model with the parts of a choice closed, as it is"),
    "search": ("subnetwork_search", "close parts step by step while enough of the metric is left"),
    "curve": ("measurement", "the metric by share closed, for several strategies, untrained"),
    "changes": ("measurement", "what a training has changed of each head"),
    "compare": ("choice", "agreement of choices, or of two measures"),
}
#: step -> its flags in an example
EXAMPLES = {
    "importance": "dense/checkpoint_best.pt --out scores.json",
    "ablate": "dense/checkpoint_best.pt --sentences 100 --out exact.json",
    "choose": "--scores scores.json --strategy lowest --share 0.5 --out half.json",
    "close": "dense/checkpoint_best.pt --parts half.json --out zero-shot.pt",
    "search": "dense/checkpoint_best.pt --kind heads --enough 0.95 --out found.json",
    "curve": "dense/checkpoint_best.pt --scores scores.json --out curve.json",
    "changes": "dense/checkpoint_best.pt half/checkpoint_best.pt --out changes.json",
    "compare": "seed1/half.json seed2/half.json seed3/half.json",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One of eight steps."""
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
    added["changes"].add_argument("before", help="the model that it started from")
    for name, (module, _) in STEPS.items():
        if module != "choice":
            _add_model(added[name])
    for name in ("ablate", "search", "curve"):
        _add_metric(added[name])
    for name in ("choose", "curve", "compare"):
        added[name].add_argument("--kind", default="heads", help="heads, units or blocks")
    for name in ("choose", "curve"):
        _add_at_least(added[name], "open in each module")

    step = added["importance"]
    add_flags(step, Importance, Gradients, place=HEADS)
    step.add_argument("--normalise", action="store_true", help="divide by the L2 norm of a layer")

    step = added["ablate"]
    step.add_argument("--one-left", action="store_true", help="all of a layer but one, instead")
    step.add_argument("--blocks", action="store_true", help="FFN blocks as well")

    step = added["choose"]
    given = step.add_mutually_exclusive_group(required=True)
    given.add_argument("--scores", metavar="FILE", help="of importance or ablate")
    given.add_argument("--of", metavar="FILE", help="the model, for strategies without scores")
    add_flags(step, Choice, place=HEADS)
    step.add_argument("--share", type=float, metavar="S", help="share of them closed afterwards")
    step.add_argument("--count", type=int, metavar="N", help="or how many")
    step.add_argument("--types", metavar="T,T", help="only of enc_self, dec_self, enc_dec (heads),"
                      " enc_ffn, dec_ffn")  # fmt: skip
    step.add_argument("--uniform", action="store_true", help="closed heads attend evenly instead of"
                      " giving zero")  # fmt: skip
    step.add_argument("--seed", type=int, default=1)
    _add_start(step)

    step = added["close"]
    step.add_argument("file", help="checkpoint or compact file")
    step.add_argument("--parts", required=True, metavar="FILE", help="a choice: what it closes is")
    _add_out(step, "checkpoint")

    step = added["search"]
    step.add_argument("--enough", type=float, default=0.9, metavar="S", help="share of the full"
                      " model's metric (0.9); of a loss it is that of exp(-loss)")  # fmt: skip
    step.add_argument("--kind", help="only heads, units or blocks, in equal steps, or weights, for"
                      " tickets; without it the three phases of Prasanna et al.")  # fmt: skip
    step.add_argument("--step", type=float, metavar="S", help="with --kind: share a step (0.1); of"
                      " weights, of what remains")  # fmt: skip
    step.add_argument("--to", type=float, metavar="S", help="with --kind: the share that is closed"
                      " in the end; with --enough 0 whatever it costs")  # fmt: skip
    step.add_argument("--one-shot", action="store_true", help="with --kind: importance once, not"
                      " anew at each step")  # fmt: skip
    add_flags(step, Gradients, place=HEADS)
    step.add_argument("--normalise", action="store_true", help="the importance, as the papers do")
    _add_at_least(step, "heads left a layer")
    step.add_argument("--seed", type=int, default=1, help="of the random and bad subnetworks")

    step = added["curve"]
    step.add_argument("--scores", metavar="FILE", help="for strategies that rank")
    step.add_argument("--strategies", default="lowest,highest,random", metavar="A,B")
    step.add_argument("--shares", default="0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9", metavar="S,S")
    step.add_argument("--seeds", default="1,2", metavar="N,N", help="of what is left to chance")

    step = added["changes"]
    step.add_argument("--control", metavar="FILE", help="of an unpruned training as long; what it"
                      " has changed is taken off")  # fmt: skip
    step.add_argument("--of", default="weights", help="weights, attention or importance")
    add_flags(step, Gradients, place=HEADS)

    step = added["compare"]
    step.add_argument("files", nargs="+", metavar="FILE", help="choices, or two files of scores")
    step.add_argument("--types", metavar="T,T", help="of choices: only of these types, as they"
                      " were made with; chance is over these, too")  # fmt: skip
    step.add_argument("--json", action="store_true", help="print JSON")


def _add_model(step: argparse.ArgumentParser) -> None:
    step.add_argument("file", help="checkpoint, compact file, ticket or snapshot")
    step.add_argument("--data", metavar="FOLDER", help="fairseq-preprocess's (the training's)")
    step.add_argument("--subset", default="valid", help="of the data (valid)")
    step.add_argument("--sentences", type=int, metavar="N", help="of it, evenly spread (all)")
    step.add_argument("--max-tokens", type=int, default=4096, metavar="N", help="of a batch")
    step.add_argument("--cpu", action="store_true", help="do without the GPU, if there is one")
    add_user_dir(step)
    _add_start(step)


def _add_metric(step: argparse.ArgumentParser) -> None:
    step.add_argument("--metric", default="loss", help="loss (nats a token) or bleu (beam 5)")
    step.add_argument("--remove-bpe", metavar="NAME", help="before BLEU, as in fairseq-generate")


def _add_at_least(step: argparse.ArgumentParser, text: str) -> None:
    step.add_argument("--at-least", type=int, default=0, metavar="N", help=text)


def _add_start(step: argparse.ArgumentParser) -> None:
    step.add_argument("--parts", metavar="FILE", help="a choice to go on from: what it closes is")
    _add_out(step, "JSON")


def _add_out(step: argparse.ArgumentParser, what: str) -> None:
    step.add_argument("--out", required=True, metavar="FILE", help=f"{what} to write")
    step.add_argument("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    """Take the step."""
    from fairseq_lottery.environment import require
    from fairseq_lottery.files import refuse_missing

    module = STEPS[args.action][0]
    refuse_missing(*(getattr(args, name, None) for name in ("before", "file", "control")))
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
            "the GPU has too little memory for this; give a smaller --max-tokens (it bounds all but"
            " BLEU), or --cpu"
        ) from error
