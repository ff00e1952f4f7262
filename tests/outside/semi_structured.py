"""A fairseq Transformer under a 2:4 mask, dense and with torch's semi-structured weights.

    TORCH_LINEAR_FLATTEN_3D=1 python tests/outside/semi_structured.py cpu|cuda

The recipe of docs/performance.md. Torch multiplies such weights on a GPU only: on a CPU its tensors
are used as they are, with a product of ours in place of the kernel, so that whatever fairseq
asks of them beside products fails here as it would there.
"""

import json
import sys
from argparse import Namespace

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.sequence_generator import SequenceGenerator

from fairseq_lottery.compat import use_modules
from fairseq_lottery.masks import densest, find_score, full_mask, score_all, select

SIZES = {
    f"{side}_{what}": size
    for side in ("encoder", "decoder")
    for what, size in (("layers", 2), ("embed_dim", 64), ("ffn_embed_dim", 128),
                       ("attention_heads", 2))
}  # fmt: skip


def emulated(weight):
    """As ``to_sparse_semi_structured``, on a CPU."""
    from torch.sparse import SparseSemiStructuredTensorCUTLASS

    class Emulated(SparseSemiStructuredTensorCUTLASS):
        def _mm(self, other, *, bias=None, should_transpose_dense=False, **_):
            product = self.packed @ (other.t() if should_transpose_dense else other)
            product = product if bias is None else product + bias[:, None]
            return product.t() if should_transpose_dense else product  # as cuSPARSELt leaves it

    return Emulated(weight.shape, weight, weight.new_zeros(1), None, None, None)


def pruned_transformer(dictionary):
    """A Transformer with tied embeddings, all other matrices 2:4, and its mask."""
    args = Namespace(share_all_embeddings=True, **SIZES)
    args.max_source_positions = args.max_target_positions = 64
    base_architecture(args)
    torch.manual_seed(1)
    task = Namespace(source_dictionary=dictionary, target_dictionary=dictionary)
    model = TransformerModel.build_model(args, task).eval()
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    full = full_mask({n: tuple(w.shape) for n, w in weights.items()}, "no-embeddings")
    score, _ = find_score("magnitude")
    mask = select(score_all(score, {n: weights[n] for n in full}), full, 0.5, "2:4")
    for name, keep in mask.items():
        weights[name].mul_(keep)
    return model, mask


def main():
    device = sys.argv[1]
    dictionary = Dictionary()
    for index in range(60):
        dictionary.add_symbol(str(index))
    model, mask = pruned_transformer(dictionary)
    model = model.half().cuda() if device == "cuda" else model
    generator = SequenceGenerator([model], dictionary, beam_size=2, max_len_b=10)
    tokens = torch.randint(4, 64, (3, 7), device=device)
    source = {"src_tokens": tokens, "src_lengths": torch.full((3,), 7, device=device)}

    def outputs():
        with torch.no_grad():
            found = generator.generate([model], {"net_input": source})
            logits, _ = model(**source, prev_output_tokens=tokens)
        return logits.float(), [hypothesis[0]["tokens"].tolist() for hypothesis in found]

    logits, translations = outputs()
    use_modules(model)
    replaced = 0
    convert = torch.sparse.to_sparse_semi_structured if device == "cuda" else emulated
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and densest(module.weight != 0, 4) in (0, 1, 2):
            weight = convert(module.weight.detach())
            module.weight = torch.nn.Parameter(weight, requires_grad=False)
            replaced += 1
    again, same = outputs()
    found = {
        "matrices": len(mask),
        "replaced": replaced,
        "difference": float((logits - again).abs().max()),
        "translations": translations == same,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
