"""Checks of flags before any file is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fairseq_lottery.adapters import adapter_of
from fairseq_lottery.compat import whole_config
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.files.pickles import NotAllowedError
from fairseq_lottery.formats.checkpoints.safe_load import safe_load
from fairseq_lottery.inference.stored_settings import refuse_programs
from fairseq_lottery.masks.pruners import OPTIONS, find_pruner, options_of
from fairseq_lottery.options import (
    TRAINING,
    MaskControl,
    Option,
    Prunable,
    Pruning,
    Ranking,
    Reset,
    Schedule,
    ScoreBatches,
    ScoreRounds,
    Seed,
    Sources,
    options,
)
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.saliency import SALIENCIES

#: largest seed of 31 bits
_LARGEST_SEED = (1 << 31) - 1


def refuse_setup(cfg: Any) -> None:
    """Refuse trainings in which masks cannot be enforced, and models that run code.

    fairseq sets up its task before it loads models for translation.

    Raises:
        LotteryError: a flag hides the weights, or a model file is unsafe.
    """
    if cfg.get("sparse_decode"):
        adapter_of(cfg.get("_name")).refuse_unless_translating("this command", "--sparse-decode")
    for flag in ("pair_masks", "pair_mask"):
        if cfg.get(flag) and adapter_of(cfg.get("_name")).pairs is None:
            raise LotteryError(
                f"--{flag.replace('_', '-')} requires a task with several pairs of languages; use"
                " --task translation_multi_simple_epoch_lottery"
            )
    training = whole_config(cfg)
    if "distributed_training" not in training:
        return  # only a task section, as from a checkpoint
    for path in _model_paths(training):
        _refuse_unsafe(path)
    distributed = training.distributed_training
    # fairseq-train sets tpu together with --bf16
    tpu = "--bf16 (in fairseq-train; fairseq-hydra-train common.bf16=true does not)"
    reasons = {
        "--ddp-backend fully_sharded": str(distributed.ddp_backend) == "fully_sharded",
        "--ddp-backend slowmo": str(distributed.ddp_backend) == "slowmo",
        "--zero-sharding": str(distributed.zero_sharding) != "none",
        "--pipeline-model-parallel": bool(distributed.pipeline_model_parallel),
        "--use-bmuf": bool(training.optimization.use_bmuf),
        "--model-parallel-size": int(training.common.model_parallel_size) > 1,
        "--quantization-config-path": training.common.quantization_config_path is not None,
        tpu if training.common.bf16 else "--tpu": bool(training.common.tpu),
    }
    for flag, is_set in reasons.items():
        if is_set:
            instead = ", for instance with --ddp-backend legacy_ddp" if "ddp" in flag else ""
            raise LotteryError(
                f"{flag} hides the updated weights, so masks cannot be enforced; train without"
                f" it{instead}"
            )


def _model_paths(training: Any) -> Iterator[str]:
    """Yield the model files that fairseq will load by itself.

    These are the models of fairseq-generate and fairseq-interactive, and the start of an EMA.
    """
    from fairseq import checkpoint_utils, utils

    if "common_eval" in training and training.common_eval.path is not None:
        checkpoint = training.checkpoint
        suffix, shards = checkpoint.checkpoint_suffix, checkpoint.checkpoint_shard_count
        for path in utils.split_paths(training.common_eval.path):
            for shard in range(shards):
                yield checkpoint_utils.get_maybe_sharded_checkpoint_filename(
                    path, suffix, shard, shards
                )
    if "generation" in training and training.generation.lm_path is not None:
        yield training.generation.lm_path
    if "ema" in training and training.ema.store_ema and training.ema.ema_seed_model is not None:
        yield training.ema.ema_seed_model


def _refuse_unsafe(path: str) -> None:
    """Refuse a file that is not a checkpoint of plain data and plain settings.

    fairseq loads it with torch's default, which runs a file's code before torch 2.6. Then fairseq
    evaluates some of its settings while it builds the model.
    """
    if not is_plain(path):
        raise LotteryError(f"there is no file {path}; give a checkpoint")
    try:
        refuse_programs(safe_load(path), path)
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a corrupted file raises any error
        reason = "it is truncated, corrupted or of another kind"
        if isinstance(error, NotAllowedError):
            reason = str(error)
        elif isinstance(error, PermissionError):
            reason = str(error.strerror)
        raise LotteryError(
            f"{path} is not a fairseq checkpoint that can be loaded safely ({reason}); give another"
        ) from error


def refuse_stray_flags(cfg: Any) -> None:
    """Refuse flags that would be ignored or contradict each other."""
    if cfg.sparse_decode:
        raise LotteryError("--sparse-decode applies only to translation; train without it")
    if cfg.pair_mask:
        raise LotteryError("--pair-mask applies only to translation; train without it")
    for flag, seed in (("--data-seed", cfg.data_seed), ("--head-seed", cfg.head_seed)):
        if seed is not None and not 0 <= seed <= _LARGEST_SEED:
            raise LotteryError(
                f"{flag} {seed} is out of range; give a number from 0 to {_LARGEST_SEED}"
            )
    if cfg.ticket and cfg.mask_from:
        raise LotteryError("--ticket and --mask-from exclude each other; give one of them")
    prunes = cfg.prune_to is not None
    if not cfg.mask_from:
        refuse_options(
            cfg,
            options(Sources, Reset, MaskControl),
            "applies to drawing a ticket; add --mask-from",
        )
    if not cfg.mask_from and not prunes:
        refuse_options(
            cfg, options(Ranking, Seed), "applies to ranking weights; add --mask-from or --prune-to"
        )
    if not cfg.mask_from and (cfg.ticket or not prunes):
        refuse_options(
            cfg, options(Prunable), "requires --prune-to without --ticket; a ticket has its own set"
        )
    if not prunes:
        during = options(Schedule, Pruning, ScoreBatches)
        if not (cfg.mask_from and cfg.score in SALIENCIES):  # which a draw reads
            during += options(ScoreRounds)
        refuse_options(cfg, during, "applies to pruning during training; add --prune-to")
        return
    _refuse_stray_sums(cfg)
    kind = find_pruner(cfg.pruner)[0]
    own = options_of(kind)
    stray = [option for name, option in OPTIONS.items() if name not in own]
    refuse_options(cfg, stray, f"is not an option of --pruner {cfg.pruner}; leave it out")
    if Pattern.parse(cfg.scope) is not None and not kind.keeps_pattern:
        raise LotteryError(
            f"--scope {cfg.scope} has a fixed sparsity, which --prune-to cannot increase; draw a"
            f" ticket with --mask-from and --scope {cfg.scope}"
        )


def _refuse_stray_sums(cfg: Any) -> None:
    """Refuse numbers of batches or rounds that the score would ignore, or that are not positive."""
    saliency = SALIENCIES.get(cfg.score)
    batches, rounds = options(ScoreBatches, ScoreRounds)
    used = () if saliency is None else (batches, rounds) if saliency.needs_data else (rounds,)
    stray = [option for option in (batches, rounds) if option not in used]
    refuse_options(cfg, stray, f"is not an option of --score {cfg.score}; leave it out")
    if saliency is not None and saliency.ranks_later and cfg.prune_schedule != "one-shot":
        refuse_options(cfg, used, "applies to --prune-schedule one-shot; leave it out")
    for option in used:
        number = getattr(cfg, option.name)
        if number is not None and number < 1:
            raise LotteryError(
                f"{option.flag_in(TRAINING)} {number} is out of range; give 1 or more"
            )


def refuse_options(cfg: Any, stray: Iterable[Option], reason: str) -> None:
    """Refuse options that are set to other values than their defaults."""
    for option in stray:
        if getattr(cfg, option.name_in(TRAINING)) != option.default_in(TRAINING):
            raise LotteryError(f"{option.flag_in(TRAINING)} {reason}")


def refuse_unreachable(cfg: Any, training: Any) -> None:
    """Refuse flags that count updates in a run without their end, or beyond it.

    Args:
        cfg: the task's section of ``training``.
        training: fairseq's complete configuration.
    """
    most = training.optimization.max_update
    counting = {"--prune-to": cfg.prune_to, "--snapshot-updates": cfg.snapshot_updates}
    for flag, value in counting.items():
        if value not in (None, "") and not most:
            raise LotteryError(
                f"{flag} counts updates and requires --max-update; give it (--max-epoch may end the"
                " run before)"
            )
    if cfg.prune_to is not None and cfg.prune_end > most:
        raise LotteryError(
            f"--prune-end {cfg.prune_end} exceeds --max-update {most}, so the target would never be"
            " reached; end the schedule earlier, for instance after 80 % of the updates"
        )
