"""Record activations and attention of a model on a corpus, word by word."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.environment import require
from fairseq_lottery.files import model_file, refuse_missing, refuse_target

EXAMPLE = "fairseq-lottery record dense/checkpoint_best.pt --subset valid --out dense/recording"
REQUIRES = ("torch", "numpy", "safetensors", "fairseq")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``record``."""
    add = parser.add_argument
    add("file", metavar="CHECKPOINT", help="checkpoint, compact file, ticket or snapshot")
    add("--data", metavar="FOLDER", help="data folder (that of the training)")
    add("--examples-of", metavar="CHECKPOINT", help="record the examples of this model's task, such"
        " as a fine-tuned model's in its start (those of CHECKPOINT)")  # fmt: skip
    add("--subset", default="valid", help="subset of the data (valid)")
    add("--sentences", type=int, metavar="N", help="number of sentences, evenly spread (all)")
    add("--words", type=int, metavar="N", help="stop after N source words (no limit)")
    add("--subwords", help="how subwords are merged: sentencepiece, subword_nmt, gpt2 or none (by"
        " the symbols of each dictionary)")  # fmt: skip
    add("--gpt2-encoder", metavar="FILE", help="encoder.json of GPT-2, if the dictionary has the"
        " numbers of its byte pairs, as that of roberta.base")  # fmt: skip
    add("--source-words", type=Path, metavar="FILE", help="words of the source sentences, separated"
        " by spaces; sentences whose subwords do not match are dropped")  # fmt: skip
    add("--target-words", type=Path, metavar="FILE", help="the same for target sentences")
    add("--half", action="store_true", help="store half precision, in half the space")
    add("--hdf5", type=Path, metavar="FILE", help="also write the encoder's activations for"
        " contextual-repr-analysis")  # fmt: skip
    add("--max-tokens", type=int, default=4096, metavar="N", help="tokens of a batch (4096)")
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the recording; an"
        " incomplete recording is resumed")  # fmt: skip
    add("--json", action="store_true", help="print the record as JSON")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Record, and print the counts."""
    if args.hdf5 is not None:
        require("h5py")
        refuse_target(args.hdf5)
    by_side = {"source": args.source_words, "target": args.target_words}
    files = {side: path for side, path in by_side.items() if path is not None}
    models = map(model_file, (args.file, args.examples_of))
    refuse_missing(*models, args.gpt2_encoder, *files.values())
    import fairseq  # noqa: F401 - before the plugin, which registers with it
    from tqdm import tqdm

    import_user_module(args.user_dir)
    from fairseq_lottery.analysis.recording.corpus import read_corpus
    from fairseq_lottery.analysis.recording.hdf5 import write_hdf5
    from fairseq_lottery.analysis.recording.recorder import record
    from fairseq_lottery.inference.loaded_model import load_for_evaluation

    loaded = load_for_evaluation(args.file, args.data, args.cpu, args.examples_of)
    corpus = read_corpus(
        loaded, args.subset, args.sentences, args.words, args.subwords, files, args.gpt2_encoder
    )
    precision = "float16" if args.half else "float32"
    with tqdm(total=len(corpus.sentences), unit=" sentences", disable=None) as bar:
        recording = record(loaded, corpus, args.out, args.max_tokens, precision, bar.update)
    if args.hdf5 is not None:
        write_hdf5(recording, args.hdf5)
    if args.json:
        print(json.dumps(asdict(recording.record)))
        return
    counts = " and ".join(f"{count} {side}" for side, count in recording.record.counts.items())
    print(
        f"{args.out}: {len(corpus.sentences)} sentences, {counts} words, {corpus.dropped} sentences"
        " dropped"
    )
