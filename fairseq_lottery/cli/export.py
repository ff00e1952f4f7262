"""Export a checkpoint for plain fairseq, a compact or slim file, or a CTranslate2 model.

--to dense (the default) writes a checkpoint that fairseq loads without this plugin. It also
converts compact files back.
--to compact stores checkpoints, tickets and snapshots in fewer bytes (see docs/format.md).
--to slim removes the attention heads and FFN units whose weights are zero. The smaller dense
checkpoint loads with this plugin and translates as before.
--to ctranslate2 writes a folder for CTranslate2, the fastest way to translate on a CPU, and
checks that it translates as fairseq does. It accepts slim checkpoints, too.
"""

import argparse

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError

EXAMPLE = """fairseq-lottery export slt50/checkpoint_best.pt --out slt50.pt
  fairseq-lottery export heads50/checkpoint_best.pt --to slim --out heads50.pt
  fairseq-lottery export slt50.pt --to ctranslate2 --quantization int8 --out slt50-int8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    add = parser.add_argument
    add("file", help="checkpoint, ticket, snapshot or compact file")
    forms = ("dense", "compact", "slim", "ctranslate2")
    add("--to", choices=forms, default="dense", help="form of the output (default: dense)")
    add("--round", choices=("fp16", "bf16", "zeros"), dest="round_to", help="with --to compact:"
        " fp16 and bf16 round all values (lossy); zeros only replaces -0.0 by 0.0")  # fmt: skip
    add("--pair", metavar="PAIR", help="for models with masks of pairs: the pair whose model is"
        " written, such as en-de, or a combination such as union:fr-en,en-de")  # fmt: skip
    add("--out", required=True, metavar="PATH", help="file or folder to write")
    add("--overwrite", action="store_true", help="replace --out if it exists")
    add_user_dir(parser)
    add = parser.add_argument_group("with --to ctranslate2").add_argument
    types = ("int8", "int8_float32", "int8_float16", "int8_bfloat16", "float16", "bfloat16")
    add("--quantization", choices=types, help="type of stored weights (default: float32)")
    add("--data", metavar="FOLDER", help="folder of binary data (default: that of the training)")
    add("--check-on", metavar="FILE", help="tokenised source sentences for the check, one per line"
        " (default: up to 100 of the valid or test set)")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Convert the file, and print how to load the result."""
    from fairseq_lottery.files import model_file, refuse_missing

    args.file = str(model_file(args.file))
    refuse_missing(args.file)
    is_ctranslate2 = args.to == "ctranslate2"
    for flag in ("quantization", "data", "check_on"):
        if getattr(args, flag) is not None and not is_ctranslate2:
            name = flag.replace("_", "-")
            raise LotteryError(f"--{name} requires --to ctranslate2; add it, or omit --{name}")
    if is_ctranslate2 and args.round_to:
        raise LotteryError("--round requires --to compact; give --quantization for CTranslate2")
    require("torch", "numpy", "safetensors", "zstandard", "fairseq")
    import fairseq  # noqa: F401 - before the plugin, which registers its classes with fairseq

    import_user_module(args.user_dir)
    if is_ctranslate2:
        _deploy(args)
    else:
        _export(args)


def _deploy(args: argparse.Namespace) -> None:
    require("ctranslate2")
    from fairseq_lottery.export.ctranslate2_model import deploy

    agreement = deploy(
        args.file, args.out, args.quantization, args.data, args.check_on, args.overwrite
    )
    print(f"{args.out}: a CTranslate2 model, weights in {args.quantization or 'float32'}")
    print(agreement.describe())


def _export(args: argparse.Namespace) -> None:
    from fairseq_lottery.export.checkpoint_forms import export, own_architecture

    cut = export(args.file, args.out, args.to, args.round_to, args.overwrite, args.pair)
    if args.out.endswith(".safetensors"):
        from fairseq_lottery.tickets.inspection import inspect_file
        from fairseq_lottery.tickets.size import advice, line

        description = inspect_file(args.out)
        print(f"{args.out}: {line(description)}")
        if advice(description):
            print(advice(description))
        return
    architecture = own_architecture(args.out)
    own_folder = f"the --user-dir that registers its architecture {architecture}"
    if cut:
        print(f"{args.out}: {cut.describe()}")
        folder = own_folder if architecture else "--user-dir of this plugin"
        print(f"it loads with {folder} and --task translation_lottery")
    else:
        plain = "plain fairseq, without --user-dir"
        print(f"{args.out}: loads with {f'fairseq and {own_folder}' if architecture else plain}")
