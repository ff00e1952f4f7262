"""Write a checkpoint that any plain fairseq loads, or any file of ours in a form to use.

--to dense (the default) gives a checkpoint without this plugin's parts, also of a compact one.
--to compact takes checkpoints, tickets and snapshots; docs/format.md says how they are coded.
--to slim cuts out the attention heads and FFN units that are zero: a smaller dense checkpoint,
which loads with this plugin and translates as before.
--to ctranslate2 gives a folder for CTranslate2, the fastest way to translate on a CPU, and
checks that it translates as fairseq does. It takes slim checkpoints too.
"""

import argparse

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.errors import LotteryError

EXAMPLE = """fairseq-lottery export slt50/checkpoint_best.pt --out slt50.pt
  fairseq-lottery export heads50/checkpoint_best.pt --to slim --out heads50.pt
  fairseq-lottery export slt50.pt --to ctranslate2 --quantization int8 --out slt50-int8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A file in, a file or a folder out."""
    add = parser.add_argument
    add("file", help="checkpoint, ticket, snapshot or compact file")
    forms = ("dense", "compact", "slim", "ctranslate2")
    add("--to", choices=forms, default="dense", help="(dense)")
    add("--round", choices=("fp16", "bf16", "zeros"), dest="round_to", help="with --to compact:"
        " values to a shorter type, lossy; or -0.0 to 0.0 and nothing else")  # fmt: skip
    add("--out", required=True, metavar="PATH", help="file or folder to write")
    add("--overwrite", action="store_true", help="replace --out where it exists")
    add_user_dir(parser)
    add = parser.add_argument_group("with --to ctranslate2").add_argument
    types = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "float16", "bfloat16")
    add("--quantization", choices=types, help="what weights are stored as (float32)")
    add("--data", metavar="FOLDER", help="fairseq-preprocess's (the one that it was trained on)")
    add("--check-on", metavar="FILE", help="tokenised source sentences to check with, one a line"
        " (up to 100 of the data's valid or test set)")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Convert, and say what the result is."""
    from fairseq_lottery.environment import require
    from fairseq_lottery.files import refuse_missing

    refuse_missing(args.file)
    deploys = args.to == "ctranslate2"
    for flag in ("quantization", "data", "check_on"):
        if getattr(args, flag) is not None and not deploys:
            name = flag.replace("_", "-")
            raise LotteryError(f"--{name} is of --to ctranslate2; give that with it, or neither")
    if deploys and args.round_to:
        raise LotteryError("--round is of --to compact; CTranslate2 has --quantization")
    require("torch", "numpy", "safetensors", "zstandard", "fairseq")
    import fairseq  # noqa: F401 - loaded first, so that the plugin registers

    import_user_module(args.user_dir)
    if deploys:
        _deploy(args)
    else:
        _export(args)


def _deploy(args: argparse.Namespace) -> None:
    from fairseq_lottery.environment import require

    require("ctranslate2")
    from fairseq_lottery.export.ctranslate2_model import deploy

    found = deploy(args.file, args.out, args.quantization, args.data, args.check_on, args.overwrite)
    print(f"{args.out}: a CTranslate2 model, weights in {args.quantization or 'float32'}")
    print(found.describe())


def _export(args: argparse.Namespace) -> None:
    from fairseq_lottery.export.checkpoint_forms import export, own_architecture

    cut = export(args.file, args.out, args.to, args.round_to, overwrite=args.overwrite)
    if args.out.endswith(".safetensors"):
        from fairseq_lottery.tickets.inspection import inspect_file
        from fairseq_lottery.tickets.size import advice, line

        found = inspect_file(args.out)
        print(f"{args.out}: {line(found)}")
        if advice(found):
            print(advice(found))
        return
    own = own_architecture(args.out)
    own_folder = f"the --user-dir that registers its architecture {own}"
    if cut:
        print(f"{args.out}: {cut.describe()}")
        folder = own_folder if own else "--user-dir of this plugin"
        print(f"it loads with {folder} and --task translation_lottery")
    else:
        how = f"fairseq and {own_folder}" if own else "plain fairseq, without --user-dir"
        print(f"{args.out}: loads with {how}")
