"""Whole beam search of a Transformer base on a CPU: fairseq, ours, and their peers.

    python benchmarks/decoding.py [--json] [--batch 16] [--beam 5] [--threads 1]

Random weights, uniformly pruned in every matrix, the shared embedding of 37,000 types with them;
sentences of 25 tokens, translations of exactly 26, so that every way decodes as many steps. All
ways take turns in one process. The peers know no sparsity, so they have the dense weights:
oneDNN, torch's dynamic int8, and CTranslate2. "Same translations" compares with fairseq's own
search on the same weights.
"""

import argparse
import copy
import tempfile
import warnings
from pathlib import Path

import torch
from common import in_turn, report, spread
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.sequence_generator import SequenceGenerator
from torch import nn
from torch.utils.mkldnn import MkldnnLinear

from fairseq_lottery.compat import use_modules
from fairseq_lottery.decoding import accelerate
from fairseq_lottery.sparse.sparse_matrix import Matrix

SOURCE, TARGET = 25, 26
INT8 = "CTranslate2, int8"


def vocabulary(types):
    found = Dictionary()
    for number in range(types - found.nspecial):
        found.add_symbol(f"w{number}")
    return found


def random_sentences(words, batch):
    generator = torch.Generator().manual_seed(2)
    sentences = torch.randint(4, len(words), (batch, SOURCE), generator=generator)
    sentences[:, -1] = words.eos()
    return sentences


def transformer(words, sparsity):
    class Task:
        source_dictionary = target_dictionary = words

    args = argparse.Namespace(share_all_embeddings=True)
    base_architecture(args)
    torch.manual_seed(1)
    model = TransformerModel.build_model(args, Task)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(torch.rand_like(parameter) >= sparsity)
    return model.eval(), args


def onednn(model):
    """Every linear layer with oneDNN's product, its weights packed beforehand."""
    use_modules(model)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, MkldnnLinear(layer, torch.float))
    return model


def int8(model):
    """torch's dynamic quantization of every linear layer, the output projection too."""
    use_modules(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to move to another package
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, torch.qint8)


def without_weights(model):
    """The bound of the compiled code: every product of a pruned matrix has nothing to add."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.zero_()
    return model


class Fairseq:
    """fairseq's generator; ``fast`` as ``--sparse-decode`` changes it."""

    def __init__(self, model, words, beam, sentences, fast=False):
        self.model = model
        self.generator = SequenceGenerator(
            [model], words, beam_size=beam, min_len=TARGET, max_len_a=0, max_len_b=TARGET
        )
        if fast:
            accelerate(self.generator, [model])
            matrices = [m.bytes for m in model.modules() if isinstance(m, Matrix)]
        else:
            matrices = [4 * p.numel() for p in model.parameters() if p.dim() == 2]
        self.megabytes = sum(matrices) / 1e6
        lengths = torch.full((len(sentences),), SOURCE, device=sentences.device)
        self.sample = {"net_input": {"src_tokens": sentences, "src_lengths": lengths}}

    def __call__(self):
        found = self.generator.generate([self.model], self.sample)
        return [one[0]["tokens"][:-1].tolist() for one in found]


class CTranslate2:
    def __init__(self, folder, quantization, words, beam, sentences, threads):
        from fairseq_lottery.export.ctranslate2_translator import load_translator

        self.words, self.beam = words, beam
        self.translator = load_translator(folder, quantization, threads)
        self.sentences = [[words[token] for token in one[:-1]] for one in sentences.tolist()]

    def __call__(self):
        from fairseq_lottery.export.ctranslate2_translator import translate

        found = translate(
            self.translator, self.sentences, self.beam, shortest=TARGET, longest=TARGET
        )
        return [[self.words.index(word) for word in one] for one in found]


def converted(model, args, words, folder, quantization):
    """The model as CTranslate2's own converter writes it."""
    from ctranslate2.converters import FairseqConverter

    args.task, args.arch = "translation", "transformer"
    args.source_lang, args.target_lang = "en", "de"
    for language in ("en", "de"):
        words.save(str(folder / f"dict.{language}.txt"))
    torch.save({"args": args, "model": model.state_dict()}, folder / "model.pt")
    converter = FairseqConverter(str(folder / "model.pt"), str(folder), unsafe_deserialization=True)
    return converter.convert(str(folder / str(quantization)), quantization=quantization)


def ways_of(args, words, sentences, folder):
    """Return title -> way, and title -> translations of the same weights by fairseq."""

    def run(model, fast=False):
        return Fairseq(model, words, args.beam, sentences, fast)

    ways, expected = {}, {}
    model, settings = transformer(words, 0.0)
    ways["fairseq, dense"] = run(copy.deepcopy(model))
    expected["fairseq, dense"] = ways["fairseq, dense"]()
    ways["ours, dense"] = run(copy.deepcopy(model), fast=True)
    ways["ours, no weights: the bound"] = run(without_weights(copy.deepcopy(model)), fast=True)
    expected["ours, dense"] = expected["fairseq, dense"]
    for sparsity in map(float, args.sparsities.split(",")):
        title = f"ours, {sparsity:.0%}"
        pruned, _ = transformer(words, sparsity)
        expected[title] = run(copy.deepcopy(pruned))()
        ways[title] = run(pruned, fast=True)
    if args.without_peers:
        return ways, expected
    for title, change in (("fairseq, oneDNN", onednn), ("fairseq, torch's int8", int8)):
        ways[title] = run(change(copy.deepcopy(model)))
        ways[title].megabytes = 0  # in a form of their own
    for title, quantization in (("CTranslate2, fp32", None), (INT8, "int8")):
        path = converted(model, settings, words, folder, quantization)
        ways[title] = CTranslate2(path, quantization, words, args.beam, sentences, args.threads)
    return ways, expected


def options(text, sparsities):
    """The options of a decode; ``text`` describes the script."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sparsities", default=sparsities)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--types", type=int, default=37_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def main():
    parser = options(__doc__, "0.5,0.8,0.9,0.95,0.98")
    parser.add_argument("--without-peers", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    words = vocabulary(args.types)
    sentences = random_sentences(words, args.batch)
    with tempfile.TemporaryDirectory() as name:
        ways, expected = ways_of(args, words, sentences, Path(name))
        results, seconds = in_turn(ways, args.repeats)
    rows, record = [], []
    for way in ways:
        same = None
        if way in expected:
            same = sum(a == b for a, b in zip(expected[way], results[way]))
        record.append({"way": way, "seconds": seconds[way], "same": same})
        row = [way, spread(seconds[way])]
        for base in ("fairseq, dense", *([] if args.without_peers else [INT8])):
            row.append(spread([a / b for a, b in zip(seconds[base], seconds[way])]))
        megabytes = getattr(ways[way], "megabytes", 0)
        record[-1]["megabytes"] = megabytes
        rows.append([*row, f"{megabytes:.1f}" if megabytes else "", "" if same is None else same])
    title = (
        f"Beam {args.beam}, {args.batch} sentences, {TARGET} forced tokens, {args.types} types,"
        f" {args.threads} threads"
    )
    header = ["way", "seconds [min, max]", "fairseq, dense / way"]
    header += [] if args.without_peers else ["CTranslate2 int8 / way"]
    report(title, [*header, "matrices, MB", "same translations"], rows, {"ways": record}, args.json)


if __name__ == "__main__":
    main()
