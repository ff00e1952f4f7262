"""A small RoBERTa of random weights, and examples as fairseq's own tasks make them."""

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from analysis.recorded import PIECES, dictionary
from fairseq.data import indexed_dataset
from fairseq.models.roberta import RobertaModel
from fairseq.models.roberta.model import base_architecture
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask

from fairseq_lottery.adapters import MASKED_LM, SENTENCE_PREDICTION
from fairseq_lottery.compat import numpy_has_compat
from fairseq_lottery.formats import trainable

LAYERS, DIM, HEADS = 2, 16, 4


def write_lines(path: Path, lines, symbols):
    """Write sentences of pieces as fairseq-preprocess does, with </s> after each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    symbols.save(str(path.parent / "dict.txt"))
    builder = indexed_dataset.make_builder(f"{path}.bin", impl="mmap", vocab_size=len(symbols))
    for line in lines:
        builder.add_item(torch.IntTensor([*map(symbols.index, line), symbols.eos()]))
    builder.finalize(f"{path}.idx")


def masked_task(folder, lines, **settings):
    """fairseq's masked_lm on sentences of pieces, its subset ``valid`` loaded."""
    write_lines(folder / "valid", lines, dictionary())
    cfg = MaskedLMConfig(
        data=str(folder), **{"sample_break_mode": "eos", "tokens_per_sample": 60, **settings}
    )
    cfg.seed = 1
    task = MaskedLMTask.setup_task(cfg)
    with numpy_has_compat():
        task.load_dataset("valid")
    task.dataset("valid").set_epoch(1)
    return task


def pair_task(folder, first, second=None, labels=None):
    """fairseq's sentence_prediction on (pairs of) sentences of pieces, with <s> and </s> </s>."""
    words, own = dictionary(), dictionary(["no", "yes"])
    labels = [["no"]] * len(first) if labels is None else labels
    for name, lines, symbols in (
        ("input0", first, words), ("input1", second, words), ("label", labels, own)
    ):  # fmt: skip
        if lines is not None:
            write_lines(folder / name / "valid", lines, symbols)
    cfg = SentencePredictionConfig(
        data=str(folder), num_classes=2, init_token=0, separator_token=2, max_positions=62,
        regression_target=False, classification_head_name="sentence_classification_head",
    )  # fmt: skip
    cfg.seed = 1
    task = SentencePredictionTask.setup_task(cfg)
    task.load_dataset("valid")
    return task


def roberta(symbols, seed=1, **changes):
    """In evaluation mode; weights and biases are large enough for every part to matter."""
    args = argparse.Namespace(
        encoder_layers=LAYERS, encoder_embed_dim=DIM, encoder_ffn_embed_dim=24,
        encoder_attention_heads=HEADS, max_positions=62, **changes,
    )  # fmt: skip
    base_architecture(args)
    torch.manual_seed(seed)
    model = RobertaModel.build_model(args, SimpleNamespace(source_dictionary=symbols))
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.normal_(0, 1 if name.endswith("weight") and parameter.dim() == 1 else 0.4)
    return model.eval()


def loaded(task, model=None):
    """A stand-in for a loaded file: fairseq's model and the subset ``valid`` of a task."""
    adapter = MASKED_LM if isinstance(task, MaskedLMTask) else SENTENCE_PREDICTION
    return SimpleNamespace(
        model=roberta(task.source_dictionary) if model is None else model,
        device=torch.device("cpu"),
        source=SimpleNamespace(
            path="toy.pt",
            digest=lambda: "0" * 64,
            adapter=adapter,
        ),
        evaluation=SimpleNamespace(
            adapter=adapter,
            dictionaries={"source": task.source_dictionary},
            folder="data",
            contents="examples",
            load=lambda subset: task.dataset(subset) if subset == "valid" else None,
        ),
    )


def run_alone(model, tokens):
    """States of every layer, and attention weights and norms, of one example without padding.

    Weights are computed from the states by numpy; layers normalise after attention.
    """
    with torch.no_grad():
        _, extra = model(torch.tensor([tokens]), features_only=True, return_all_hiddens=True)
    states = [one[:, 0].double().numpy() for one in extra["inner_states"]]
    size = DIM // HEADS
    attention = []
    for layer, inputs in zip(model.encoder.sentence_encoder.layers, states):
        module = layer.self_attn
        q, k, v = (
            inputs @ m.weight.detach().double().numpy().T + m.bias.detach().double().numpy()
            for m in (module.q_proj, module.k_proj, module.v_proj)
        )
        output = module.out_proj.weight.detach().double().numpy()
        weights, norms = np.zeros((HEADS, len(q), len(q))), np.zeros((HEADS, len(q)))
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            for i, query in enumerate(q[:, part]):
                exponents = np.exp((k[:, part] @ query) / size**0.5)
                weights[head, i] = exponents / exponents.sum()
            norms[head] = [np.linalg.norm(output[:, part] @ value) for value in v[:, part]]
        attention.append((weights, norms))
    return states[1:], attention


def marked(lines):
    """Pieces of words: ``ab c`` becomes ▁a b ▁c, of the dictionary's symbols."""
    starts = [piece for piece in PIECES if piece.startswith("\u2581")]
    inner = [piece for piece in PIECES if not piece.startswith("\u2581")]
    return [
        [
            (starts if place == 0 else inner)[ord(letter) - ord("a")]
            for word in line.split()
            for place, letter in enumerate(word)
        ]
        for line in lines
    ]
