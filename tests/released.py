"""Stand-ins for fairseq's released archives, in the layout of 2019 and 2020 that they have.

fairseq builds the models; their names and settings are changed back to those of the releases:
RoBERTa and XLM-R call their encoder ``decoder.sentence_encoder``, fuse queries, keys and values,
and have no buffers; mBART has no ``decoder.output_projection``.
"""

from argparse import Namespace
from pathlib import Path

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

from fairseq_lottery.formats import is_parameter

#: names of one layer of a released RoBERTa, in the order of its file
LAYER = (
    *("self_attn.in_proj_weight", "self_attn.in_proj_bias"),
    *("self_attn.out_proj.weight", "self_attn.out_proj.bias"),
    *("self_attn_layer_norm.weight", "self_attn_layer_norm.bias"),
    *("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"),
    *("final_layer_norm.weight", "final_layer_norm.bias"),
)
#: names after the layers
END = (
    *("sentence_encoder.emb_layer_norm.weight", "sentence_encoder.emb_layer_norm.bias"),
    *("lm_head.weight", "lm_head.bias", "lm_head.dense.weight", "lm_head.dense.bias"),
    *("lm_head.layer_norm.weight", "lm_head.layer_norm.bias"),
)
#: options of a training of 2019 that name no model
TRAINING = dict(
    adam_betas="(0.9, 0.98)", adam_eps=1e-06, bucket_cap_mb=25, clip_norm=0.0, cpu=False,
    criterion="masked_lm", curriculum=0, dataset_impl="mmap", ddp_backend="c10d", device_id=0,
    distributed_backend="nccl", distributed_init_method="env://", distributed_no_spawn=True,
    distributed_port=19812, distributed_rank=0, distributed_world_size=512,
    end_learning_rate=0.0, fix_batches_to_gpus=False, force_anneal=None, fp16=True,
    fp16_init_scale=128, fp16_scale_tolerance=0.0, fp16_scale_window=None,
    keep_interval_updates=-1, keep_last_epochs=-1, lazy_load=False, log_format="json",
    log_interval=25, lr=[0.0006], lr_scheduler="polynomial_decay", max_epoch=0, max_sentences=8,
    max_sentences_valid=8, max_tokens=None, max_update=500000, memory_efficient_fp16=False,
    min_loss_scale=0.0001, min_lr=-1, no_epoch_checkpoints=False, no_progress_bar=False,
    no_save=False, num_workers=2, optimizer="adam", optimizer_overrides="{}", power=1.0,
    raw_text=False, required_batch_size_multiple=8, reset_dataloader=False,
    reset_lr_scheduler=False, reset_meters=False, reset_optimizer=False,
    restore_file="checkpoint_last.pt", save_interval=1, save_interval_updates=2000, seed=1,
    sentence_avg=False, skip_invalid_size_inputs_valid_test=True, tensorboard_logdir="",
    threshold_loss_scale=None, tokenizer=None, total_num_update=500000, train_subset="train",
    update_freq=[1], use_bmuf=False, user_dir=None, valid_subset="valid", validate_interval=1,
    warmup_updates=24000, weight_decay=0.01,
)  # fmt: skip
#: options of the tasks masked_lm and multilingual_masked_lm in 2019
MASKING = dict(
    freq_weighted_replacement=False, leave_unmasked_prob=0.1, mask_prob=0.15,
    mask_whole_words=False, random_token_prob=0.1, sample_break_mode="complete",
    tokens_per_sample=512,
)  # fmt: skip
#: options of multilingual_denoising
DENOISING = dict(
    add_lang_token=True, insert=0.0, mask=0.3, mask_length="span-poisson", mask_random=0.1,
    multilang_sampling_alpha=0.7, no_whole_word_mask_langs="", permute=0.0,
    permute_sentences=1.0, poisson_lambda=3.5, replace_length=1, rotate=0.0,
    sample_break_mode="complete_doc", tokens_per_sample=512,
)  # fmt: skip


#: symbols of the stand-ins' dictionaries
WORDS = tuple(f"w{number}" for number in range(60))


def dictionary_of(*symbols):
    """A dictionary of these symbols after fairseq's own."""
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return dictionary


def build(args, *symbols):
    """A model of random weights and biases, as fairseq builds it."""
    dictionary = dictionary_of(*symbols)
    ARCH_CONFIG_REGISTRY[args.arch](args)
    torch.manual_seed(1)
    names = ("dictionary", "source_dictionary", "target_dictionary")
    task = Namespace(**dict.fromkeys(names, dictionary), max_positions=lambda: 512)
    model = ARCH_MODEL_REGISTRY[args.arch].build_model(args, task)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.normal_(0.1, 0.3)
    return model


def old_names(state):
    """The state of today's RoBERTa under the names of its release."""
    old = {}
    for name, tensor in state.items():
        if not is_parameter(name):
            continue
        name = name.replace("encoder.", "decoder.", 1)
        name = name.replace(".layernorm_embedding.", ".emb_layer_norm.")
        stem, part, kind = name.rpartition("self_attn.")[0], *name.split(".")[-2:]
        if part == "q_proj":
            parts = [state[f"{stem}self_attn.{p}_proj.{kind}".replace("decoder.", "encoder.", 1)]
                     for p in "qkv"]  # fmt: skip
            old[f"{stem}self_attn.in_proj_{kind}"] = torch.cat(parts)
        elif part not in ("k_proj", "v_proj"):
            old[name] = tensor
    return old


def save(folder, args, weights, words, half=True, zipped=False):
    """Write ``model.pt`` and ``dict.txt`` as an unpacked archive has them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    copies = {}  # a tied tensor is half of one tensor in every place
    if half:
        weights = {n: copies.setdefault(t.data_ptr(), t.half()) for n, t in weights.items()}
    state = {
        "args": args,
        "model": {name: tensor.detach() for name, tensor in weights.items()},
        "optimizer_history": [
            {"criterion_name": "MaskedLmLoss", "optimizer_name": "MemoryEfficientFP16Optimizer",
             "lr_scheduler_state": {"best": None}, "num_updates": 500000}
        ],
        "extra_state": {
            "train_iterator": {"epoch": 12, "iterations_in_epoch": 0, "shuffle": True},
            "val_loss": 1.5,
        },
        "last_optimizer_state": None,
    }  # fmt: skip
    torch.save(state, folder / "model.pt", _use_new_zipfile_serialization=zipped)
    dictionary_of(*words).save(str(folder / "dict.txt"))
    return folder


def roberta_args(arch="roberta_base", task="masked_lm", **changes):
    """The settings of a small RoBERTa, as a training of 2019 stored them."""
    sizes = dict(
        encoder_layers=2, encoder_embed_dim=16, encoder_ffn_embed_dim=32,
        encoder_attention_heads=4, max_positions=512,
    )  # fmt: skip
    rest = dict(
        activation_dropout=0.0, activation_fn="gelu", attention_dropout=0.1, dropout=0.1,
        pooler_activation_fn="tanh", pooler_dropout=0.0, data="/private/home/them/data-bin",
        save_dir="/checkpoint/them/roberta", task=task, arch=arch,
    )  # fmt: skip
    return Namespace(**{**TRAINING, **MASKING, **rest, **sizes, **changes})


def write_roberta(folder, words=WORDS, half=True, zipped=False, **changes):
    """Write a RoBERTa or an XLM-R as released; return its folder and the model."""
    args = roberta_args(**changes)
    model = build(Namespace(**vars(args)), *words, "<mask>")
    return save(folder, args, old_names(model.state_dict()), words, half, zipped), model


def mbart_args(langs="ar_AR,de_DE,en_XX", **changes):
    """The settings of a small mBART, as a training of 2020 stored them."""
    sizes = {}
    for side in ("encoder", "decoder"):
        sizes.update({f"{side}_layers": 2, f"{side}_embed_dim": 16, f"{side}_ffn_embed_dim": 32,
                      f"{side}_attention_heads": 4, f"{side}_learned_pos": True,
                      f"{side}_normalize_before": True})  # fmt: skip
    rest = dict(
        activation_fn="gelu", arch="mbart_large", attention_dropout=0.1, dropout=0.1,
        share_all_embeddings=True, share_decoder_input_output_embed=True, langs=langs,
        layernorm_embedding=True, max_source_positions=1024, max_target_positions=1024,
        data="/private/home/them/cc25", save_dir="/checkpoint/them/mbart",
        task="multilingual_denoising", criterion="cross_entropy",
    )  # fmt: skip
    return Namespace(**{**TRAINING, **DENOISING, **rest, **sizes, **changes})


def write_mbart(folder, words=WORDS, half=False, zipped=False, **changes):
    """Write an mBART as released; return its folder and the model."""
    args = mbart_args(**changes)
    symbols = [f"[{name}]" for name in args.langs.split(",") if args.add_lang_token]
    model = build(Namespace(**vars(args)), *words, *symbols, "<mask>")
    weights = model.state_dict()
    del weights["decoder.output_projection.weight"]
    return save(folder, args, weights, words, half, zipped), model
