"""Compare languages: masks, importance, drops and changes against a table of metadata.

similarity tests whether similar languages have similar masks or importance. drops prunes each group
of layers of one model and measures each language. changes measures how much a fine-tuning has
changed each group, and whether the groups that changed most matter most.
"""

import argparse
import importlib
from pathlib import Path

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.environment import require

EXAMPLE = """fairseq-lottery languages similarity aa=aa.safetensors bb=bb.safetensors \\
      cc=cc.safetensors --metadata languages.tsv --out similarity
  fairseq-lottery languages drops model/checkpoint_best.pt aa=valid_aa bb=valid_bb cc=valid_cc \\
      --metadata languages.tsv --out drops"""

#: step -> what it does, and its arguments in an example
STEPS = {
    "similarity": (
        "compare masks or importance of languages",
        "aa=aa.json bb=bb.json cc=cc.json --metadata languages.tsv",
    ),
    "drops": (
        "measure languages with each group of layers pruned",
        "model/checkpoint_best.pt aa=valid_aa bb=valid_bb --out drops",
    ),
    "changes": (
        "measure how much a fine-tuning has changed each group",
        "pretrained.pt model/checkpoint_best.pt --drops drops",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the steps and their flags."""
    steps = parser.add_subparsers(dest="action", metavar="STEP", required=True)
    added = {
        name: steps.add_parser(
            name,
            help=text,
            epilog=f"example:\n  fairseq-lottery languages {name} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, (text, example) in STEPS.items()
    }
    add = added["similarity"].add_argument
    add("files", nargs="*", metavar="LANGUAGE=FILE", help="ticket or checkpoint whose mask is that"
        " of the language, or scores of heads importance on its data; required without"
        " --table")  # fmt: skip
    add("--table", metavar="FILE", help="square table of similarities, instead of files")
    add("--kind", default="heads", help="kind of scores: heads, units or blocks")

    add = added["drops"].add_argument
    add("file", help="checkpoint or compact file of a model of all languages")
    add("subsets", nargs="+", metavar="LANGUAGE=SUBSET", help="subset of the data in each"
        " language, such as aa=valid_aa")  # fmt: skip
    add("--choices", nargs="+", default=[], metavar="NAME=FILE", help="choices of heads choose to"
        " measure, instead of groups of layers")  # fmt: skip
    add("--metric", default="loss", help="metric, as for heads ablate")
    add("--remove-bpe", metavar="NAME", help="for BLEU, as in fairseq-generate")
    add("--data", metavar="FOLDER", help="data folder (that of the training)")
    add("--sentences", type=int, metavar="N", help="number of sentences of each language, evenly"
        " spread (all)")  # fmt: skip
    add("--max-tokens", type=int, default=4096, metavar="N", help="tokens of a batch (4096)")
    add("--cpu", action="store_true", help="do not use a GPU")

    add = added["changes"].add_argument
    add("before", help="the model before fine-tuning: checkpoint, snapshot or ticket")
    add("after", help="the model after it")
    add("--recordings", nargs=2, type=Path, metavar=("BEFORE", "AFTER"), help="recordings of both"
        " models on the same words, for CKA")  # fmt: skip
    add("--drops", type=Path, metavar="DIR", help="results of languages drops, to correlate")

    for name in ("similarity", "drops"):
        added[name].add_argument("--metadata", metavar="FILE", help="table of facts about the"
                                 " languages, with tabs between its columns")  # fmt: skip
    for name in ("drops", "changes"):
        added[name].add_argument("--layers", default="thirds", help="groups of layers: thirds of"
                                 " each stack (bottom, middle, top), or each layer")  # fmt: skip
    for step in added.values():
        step.add_argument("--seed", type=int, default=1, help="seed of random permutations, which"
                          " tests of more than 8 languages or groups use (1)")  # fmt: skip
        step.add_argument("--out", type=Path, metavar="DIR", help="folder for all tables, as CSV,"
                          " and their record")  # fmt: skip
        step.add_argument("--overwrite", action="store_true", help="replace the folder if it has"
                          " results")  # fmt: skip
        step.add_argument("--json", action="store_true", help="print all rows as JSON")
        add_user_dir(step)


def run(args: argparse.Namespace) -> None:
    """Run the step."""
    from fairseq_lottery.analysis.results import RECORD
    from fairseq_lottery.files.folders import refuse_folder

    require("torch", "numpy", "safetensors", "zstandard", "scipy")
    if args.action == "drops":
        require("fairseq", "sacrebleu")
        import fairseq  # noqa: F401 - before the plugin, which registers with it
    import_user_module(args.user_dir)
    if args.out is not None:
        refuse_folder(args.out, RECORD, args.overwrite)
    step = importlib.import_module(f"{__name__}.{args.action}")
    step.run(args)
