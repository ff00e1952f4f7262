"""Sum gradients of a model over batches, for scores that need gradients."""

import argparse

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import DRAW, Prunable, add_flags, values

EXAMPLE = (
    "fairseq-lottery gradients dense/snapshot_0.safetensors --data demo/data"
    " --out gradients.safetensors"
)
REQUIRES = ("torch", "numpy", "safetensors", "fairseq")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``gradients``."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="checkpoint, snapshot, ticket or compact file")
    add("--data", metavar="FOLDER", help="data folder (that of the training)")
    add("--score", default="snip", metavar="NAME", help="score that will read the file: snip,"
        " grasp, wanda, sparsegpt, or your own score of gradients (snip)")  # fmt: skip
    add("--subset", default="train", help="subset of the data (train)")
    add("--batches", type=int, default=16, metavar="N", help="batches to draw (16)")
    add("--max-tokens", type=int, default=4096, metavar="N", help="tokens of a batch (4096)")
    add("--seed", type=int, default=1, metavar="N", help="seed that draws the batches (1)")
    add_flags(parser, Prunable, place=DRAW)
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--out", required=True, metavar="FILE", help="file to write, as .safetensors")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Write the sums, and print how many batches they are of."""
    from fairseq_lottery.files import refuse_missing, refuse_target

    if not args.out.endswith(".safetensors"):
        raise LotteryError(f"--out {args.out} must end in .safetensors; rename it")
    refuse_target(args.out, args.overwrite)  # before hours of computing
    refuse_missing(args.model)
    import fairseq  # noqa: F401 - before the plugin, which registers with it
    from tqdm import tqdm

    import_user_module(args.user_dir)
    from fairseq_lottery import __version__
    from fairseq_lottery.formats.gradients import save_gradients
    from fairseq_lottery.inference.gradient_batches import draw_batches, sum_over_batches
    from fairseq_lottery.inference.loaded_model import load_for_evaluation
    from fairseq_lottery.masks import find_score, full_mask, needed_by
    from fairseq_lottery.saliency import SALIENCIES

    saliency = SALIENCIES.get(args.score, SALIENCIES["snip"])
    if "gradient" not in needed_by(find_score(args.score)[0]) or not saliency.reads_file:
        raise LotteryError(
            f"--score {args.score} does not read a file of gradients; choose snip, grasp, wanda,"
            " sparsegpt, or a score of your own that needs gradients"
        )
    loaded = load_for_evaluation(args.model, args.data, args.cpu)
    loaded.source.refuse_untrainable()
    mask = full_mask(loaded.source.shapes, **values(args, Prunable))
    with tqdm(unit=" batches", disable=None) as bar:
        batches = draw_batches(
            loaded, args.subset, args.batches, args.max_tokens, args.seed, bar.update,
            saliency.reads_inputs,
        )  # fmt: skip
        name = args.score if args.score in SALIENCIES else "snip"
        sums, tokens = sum_over_batches(loaded, name, mask, batches)
    source, passes = loaded.source, 2 if saliency.statistic == "hessian-gradient" else 1
    count = min(args.batches, batches.total)
    record = {
        "statistic": saliency.statistic,
        "weights": source.digest(),
        "update": source.update,
        "subset": args.subset,
        "batches": count,
        "all_batches": batches.total,
        "tokens": tokens // passes,
        "seed": args.seed,
        "task": source.adapter.name,
        "versions": {"fairseq_lottery": __version__},
    }
    save_gradients(args.out, sums, record, args.overwrite)
    print(
        f"{args.out}: {len(sums)} matrices, summed over {count} of {batches.total} batches of"
        f" {args.subset}"
    )
