"""Whole beam search with a pruned Transformer base on a CPU: fairseq dense, sparse, and its peers.

    python benchmarks/decoding.py [--json] [--batch 16] [--beam 5]

Random weights, uniformly pruned in every matrix, the shared embedding of 37,000 types with them;
sentences of 25 tokens, translations of exactly 26, so that every way decodes as many steps. All
ways take turns in one process. The peers are torch's default product (MKL), oneDNN, torch's
dynamic int8, and CTranslate2 where it is installed; they know no sparsity, so they are measured
at one sparsity only, beside the dense model there.
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
from fairseq_lottery.sparse import sparsify
from fairseq_lottery.sparse.kernel import sparse_linear
from fairseq_lottery.sparse.sparse_matrix import KernelMatrix, SparseLinear, SparseMatrix

SOURCE, TARGET = 25, 26


def vocabulary(types):
    found = Dictionary()
    for number in range(types - found.nspecial):
        found.add_symbol(f"w{number}")
    return found


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


def sparse(engine):
    def way(model, beam):
        sparsify(model, rows=beam, matrix=engine)
        return model

    return way


class Free(nn.Module):
    """A linear layer that costs nothing: the same random output for every input of one shape."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.made = outputs, {}

    def forward(self, x):
        shape = (*x.shape[:-1], self.outputs)
        if shape not in self.made:
            self.made[shape] = torch.randn(shape) * 0.1
        return self.made[shape]


def free(model, beam):
    """The bound: what is left when every product with a pruned matrix takes no time."""
    sparsify(model, rows=beam)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, SparseLinear):
                setattr(parent, name, Free(layer.out_features))
    return model


class Fairseq:
    def __init__(self, model, words, beam, sentences):
        self.model = model
        self.generator = SequenceGenerator(
            [model], words, beam_size=beam, min_len=TARGET, max_len_a=0, max_len_b=TARGET
        )
        lengths = torch.full((len(sentences),), SOURCE)
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


def ways_at(sparsity, args, words, sentences, with_peers, folder):
    model, settings = transformer(words, sparsity)
    made = {"dense": copy.deepcopy(model)}
    kernel = "kernel" if sparse_linear() is not None else None
    for name, engine in ((kernel, KernelMatrix), ("torch CSR", SparseMatrix)):
        if name:
            made[name] = sparse(engine)(copy.deepcopy(model), args.beam)
    made["bound: free"] = free(copy.deepcopy(model), args.beam)
    if with_peers:
        made["oneDNN"] = onednn(copy.deepcopy(model))
        made["int8 (torch)"] = int8(copy.deepcopy(model))
    ways = {name: Fairseq(one, words, args.beam, sentences) for name, one in made.items()}
    if with_peers and not args.without_ctranslate2:
        for name, quantization in (("CTranslate2", None), ("CTranslate2 int8", "int8")):
            path = converted(model, settings, words, folder, quantization)
            ways[name] = CTranslate2(path, quantization, words, args.beam, sentences, args.threads)
    return ways, sparsify(made["kernel"], args.beam) if kernel else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sparsities", default="0.5,0.8,0.9,0.95,0.98")
    parser.add_argument("--peers-at", type=float, default=0.9)
    parser.add_argument("--without-ctranslate2", action="store_true")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--types", type=int, default=37_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    words = vocabulary(args.types)
    generator = torch.Generator().manual_seed(2)
    sentences = torch.randint(4, args.types, (args.batch, SOURCE), generator=generator)
    sentences[:, -1] = words.eos()
    rows, record = [], []
    for sparsity in map(float, args.sparsities.split(",")):
        with tempfile.TemporaryDirectory() as name:
            ways, held = ways_at(
                sparsity, args, words, sentences, sparsity == args.peers_at, Path(name)
            )
            results, seconds = in_turn(ways, args.repeats)
        for way in ways:
            ratios = [a / b for a, b in zip(seconds["dense"], seconds[way])]
            same = sum(a == b for a, b in zip(results["dense"], results[way]))
            record.append({"sparsity": sparsity, "way": way, "seconds": seconds[way], "same": same})
            rows.append([f"{sparsity:.0%}", way, spread(seconds[way]), spread(ratios), same])
        if held and not args.json:
            print(f"{sparsity:.0%}: {held}", flush=True)
        record.append({"sparsity": sparsity, "held": vars(held) if held else None})
    title = f"Beam {args.beam}, {args.batch} sentences, {TARGET} forced tokens, {args.types} types"
    header = ["sparsity", "way", "seconds [min, max]", "dense / way", "same translations"]
    report(title, header, rows, {"ways": record}, args.json)


if __name__ == "__main__":
    main()
