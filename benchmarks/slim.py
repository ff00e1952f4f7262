"""Whole beam search with heads and FFN units cut out, on a CPU: fairseq and CTranslate2.

    cd benchmarks && python slim.py [--json] [--heads 0.5] [--units 0.5] [--uneven]

A Transformer base of random weights, in which that share of the heads of each attention and of the
units of each FFN is pruned; with --uneven, of all heads together and of all units together. The
model with zeros in their place is what each way is compared with, in the same turn. The bound is
the same model without any head or unit: embedding, norms, output projection, search and Python. All
translations have 26 tokens, so that every way decodes as many steps. CTranslate2 has int8 weights;
its format wants as many heads in all attentions of the decoder, and as many in all of the encoder.
"""

import argparse
import copy
import logging
import tempfile
from pathlib import Path

import torch
from common import in_turn, report, spread
from decoding import SOURCE, TARGET, CTranslate2, Fairseq, transformer, vocabulary

from fairseq_lottery.export.ctranslate2_model import converter_of
from fairseq_lottery.formats import trainable
from fairseq_lottery.formats.checkpoints.cut_model import CUT
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import clear_biases, weight_masks
from fairseq_lottery.heads.slim.cut_settings import encode_cut
from fairseq_lottery.heads.slim.cutting import cut
from fairseq_lottery.heads.slim.slim_checkpoint import flops_per_token


def random_components(anatomy, shares, uneven, generator):
    """Prune a random share of the heads and of the units, of each module or of all together."""
    kept = {}
    for kind, share in shares.items():
        sizes = anatomy.sizes[kind]
        groups = [list(sizes)] if uneven else [[name] for name in sizes]
        kept[kind] = {}
        for names in groups:
            keep = torch.ones(sum(sizes[name] for name in names), dtype=torch.bool)
            order = torch.randperm(keep.numel(), generator=generator)
            keep[order[: round(share * keep.numel())]] = False
            kept[kind].update(zip(names, keep.split([sizes[name] for name in names])))
    return ComponentMask.of(anatomy, kept)


def zeroed(model, components):
    weights = {name: parameter.detach() for name, parameter in trainable(model).items()}
    for name, keep in weight_masks(components, shapes_of(model)).items():
        weights[name].mul_(keep)
    clear_biases(weights, components)
    return model


def shapes_of(model):
    return {name: tuple(parameter.shape) for name, parameter in trainable(model).items()}


def smaller(model, components):
    model = copy.deepcopy(model)
    cut(model, components)
    return model


def converted(model, settings, words, folder, components):
    """As CTranslate2 with int8 weights, without the components that ``components`` prunes."""
    settings.task, settings.arch = "translation", "transformer"
    settings.source_lang, settings.target_lang = "en", "de"
    for language in ("en", "de"):
        words.save(str(folder / f"dict.{language}.txt"))
    torch.save({"args": settings, "model": model.state_dict()}, folder / "model.pt")
    cut_out = {CUT: encode_cut(components)} if components is not None else {}
    converter = converter_of(folder, settings, cut_out)
    converter._unsafe_deserialization = True  # it was written a line ago
    return converter.convert(str(folder / "int8"), quantization="int8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--heads", type=float, default=0.5, help="share that is cut")
    parser.add_argument("--units", type=float, default=0.5, help="share that is cut")
    parser.add_argument("--uneven", action="store_true")
    parser.add_argument("--without-ctranslate2", action="store_true")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--types", type=int, default=37_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.disable(logging.INFO)
    words = vocabulary(args.types)
    generator = torch.Generator().manual_seed(2)
    sentences = torch.randint(4, args.types, (args.batch, SOURCE), generator=generator)
    sentences[:, -1] = words.eos()
    model, settings = transformer(words, 0.0)
    heads = {f"{side}_attention_heads": 8 for side in ("encoder", "decoder")}
    anatomy = Anatomy.of(shapes_of(model), heads)
    shares = {"heads": args.heads, "units": args.units}
    components = random_components(anatomy, shares, args.uneven, generator)
    nothing = random_components(anatomy, {"heads": 1.0, "units": 1.0}, False, generator)
    whole = zeroed(model, components)
    models = {"zeros": whole, "slim": smaller(whole, components), "bound": smaller(whole, nothing)}
    ways = {name: Fairseq(one, words, args.beam, sentences) for name, one in models.items()}
    with tempfile.TemporaryDirectory() as name:
        if not args.without_ctranslate2:
            none = ComponentMask(anatomy, {})
            for way, cut_out in (("zeros", none), ("slim", components), ("bound", nothing)):
                folder = Path(name) / way
                folder.mkdir()
                path = converted(whole, settings, words, folder, cut_out)
                ways[f"CTranslate2 int8, {way}"] = CTranslate2(
                    path, "int8", words, args.beam, sentences, args.threads
                )
        results, seconds = in_turn(ways, args.repeats)
    rows, record = [], []
    for way in ways:
        first = "CTranslate2 int8, zeros" if "CT" in way else "zeros"
        ratios = [a / b for a, b in zip(seconds[first], seconds[way])]
        same = sum(a == b for a, b in zip(results[first], results[way]))
        rows.append([way, spread(seconds[way]), spread(ratios), same])
        record.append({"way": way, "seconds": seconds[way], "ratios": ratios, "same": same})
    sizes = {
        name: {
            "parameters": sum(p.numel() for p in trainable(one).values()),
            "flops_per_token": flops_per_token(shapes_of(one)),
        }
        for name, one in models.items()
    }
    title = (
        f"Heads {args.heads:.0%} and units {args.units:.0%} cut{', uneven' * args.uneven}; beam"
        f" {args.beam}, {args.batch} sentences, {TARGET} forced tokens, {args.types} types"
    )
    header = ["way", "seconds [min, max]", "zeros / way", "same translations"]
    report(title, header, rows, {"ways": record, "sizes": sizes}, args.json)
    if not args.json:
        for name, size in sizes.items():
            print(
                f"{name}: {size['parameters'] / 1e6:.1f} M parameters,"
                f" {size['flops_per_token'] / 1e6:.1f} million operations a token"
            )


if __name__ == "__main__":
    main()
