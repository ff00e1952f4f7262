"""Flags that cannot be meant, refused before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fairseq_lottery.adapters import adapter_of
from fairseq_lottery.compat import safe_load, whole_config
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.files.pickles import NotAllowedError
from fairseq_lottery.inference.stored_settings import refuse_programs
from fairseq_lottery.options import (
    TRAINING,
    Option,
    Prunable,
    Pruning,
    Ranking,
    Reset,
    Schedule,
    Seed,
    Sources,
    options,
)
from fairseq_lottery.options.nm_pattern import Pattern


def refuse_setup(cfg: Any) -> None:
    """Refuse ways of training in which masks cannot be enforced, and models that run code.

    fairseq sets its task up before it loads what it translates with.
    """
    if cfg.get("sparse_decode"):
        adapter_of(cfg.get("_name")).refuse_unless_translating("this command", "--sparse-decode")
    whole = whole_config(cfg)
    if "distributed_training" not in whole:
        return  # a task alone, as from a checkpoint
    for path in _models_of(whole):
        _refuse_unsafe(path)
    distributed = whole.distributed_training
    # fairseq-train takes --bf16 for a TPU's
    tpu = "--bf16 (in fairseq-train; fairseq-hydra-train common.bf16=true does not)"
    reasons = {
        "--ddp-backend fully_sharded": str(distributed.ddp_backend) == "fully_sharded",
        "--ddp-backend slowmo": str(distributed.ddp_backend) == "slowmo",
        "--zero-sharding": str(distributed.zero_sharding) != "none",
        "--pipeline-model-parallel": bool(distributed.pipeline_model_parallel),
        "--use-bmuf": bool(whole.optimization.use_bmuf),
        "--model-parallel-size": int(whole.common.model_parallel_size) > 1,
        "--quantization-config-path": whole.common.quantization_config_path is not None,
        tpu if whole.common.bf16 else "--tpu": bool(whole.common.tpu),
    }
    for flag, given in reasons.items():
        if given:
            raise LotteryError(
                f"{flag} hides the weights that are updated, so masks cannot be enforced; train"
                " without it, for instance with --ddp-backend legacy_ddp"
            )


def _models_of(whole: Any) -> Iterator[str]:
    """Files that fairseq will load and nobody else looks at, under the names that it takes.

    Those of fairseq-generate and fairseq-interactive, and what a training's EMA starts from.
    """
    from fairseq import checkpoint_utils, utils

    if "common_eval" in whole and whole.common_eval.path is not None:
        suffix, shards = whole.checkpoint.checkpoint_suffix, whole.checkpoint.checkpoint_shard_count
        for path in utils.split_paths(whole.common_eval.path):
            for shard in range(shards):
                yield checkpoint_utils.get_maybe_sharded_checkpoint_filename(
                    path, suffix, shard, shards
                )
    if "generation" in whole and whole.generation.lm_path is not None:
        yield whole.generation.lm_path
    if "ema" in whole and whole.ema.store_ema and whole.ema.ema_seed_model is not None:
        yield whole.ema.ema_seed_model


def _refuse_unsafe(path: str) -> None:
    """Refuse what is not a checkpoint of plain data and plain settings.

    fairseq loads it with whatever torch does by default: before 2.6, run what it asks for. Then it
    builds the model that the settings describe, and evaluates some of them.
    """
    if not is_plain(path):
        raise LotteryError(f"there is no file {path}; name a checkpoint")
    try:
        refuse_programs(safe_load(path), path)
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a corrupted file raises whatever it likes
        reason = "it is truncated, corrupted or of another kind"
        if isinstance(error, NotAllowedError):
            reason = str(error)
        elif isinstance(error, PermissionError):
            reason = str(error.strerror)
        raise LotteryError(
            f"{path} is no fairseq checkpoint that can be loaded safely ({reason})"
        ) from error


def refuse_stray_flags(cfg: Any) -> None:
    """Refuse flags that would be ignored: a run must not be another than it looks."""
    if cfg.sparse_decode:
        raise LotteryError("--sparse-decode is for translating; train without it")
    if cfg.ticket and cfg.mask_from:
        raise LotteryError("--ticket and --mask-from both say what to start from; give one")
    prunes = cfg.prune_to is not None
    if not cfg.mask_from:
        refuse_given(
            cfg, options(Sources, Reset), "is about drawing a ticket and needs --mask-from"
        )
    if not cfg.mask_from and not prunes:
        refuse_given(
            cfg, options(Ranking, Seed), "ranks weights and needs --mask-from or --prune-to"
        )
    if not cfg.mask_from and (cfg.ticket or not prunes):
        refuse_given(cfg, options(Prunable), "is decided by the ticket, or needs --prune-to")
    if not prunes:
        refuse_given(
            cfg, options(Schedule, Pruning), "is about pruning during training and needs --prune-to"
        )
    elif Pattern.parse(cfg.scope) is not None:
        raise LotteryError(
            f"--scope {cfg.scope} is a pattern that a mask has or has not, and --prune-to lets one"
            f" grow; draw a ticket with --mask-from and --scope {cfg.scope} instead"
        )


def refuse_given(cfg: Any, stray: Iterable[Option], reason: str) -> None:
    """Refuse options whose values are not their defaults."""
    for one in stray:
        if getattr(cfg, one.name_in(TRAINING)) != one.default_in(TRAINING):
            raise LotteryError(f"{one.flag_in(TRAINING)} {reason}")


def refuse_unreachable(cfg: Any, training: Any) -> None:
    """Refuse a schedule that ends after the run.

    Args:
        training: fairseq's whole configuration, of which ``cfg`` is the task's.
    """
    if cfg.prune_to is None:
        return
    refuse_endless(training, "--prune-to")
    most = training.optimization.max_update
    if cfg.prune_end > most:
        raise LotteryError(
            f"--prune-end {cfg.prune_end} lies after --max-update {most}, so the"
            " target would never be reached; end the schedule earlier (Brix et al. leave a fifth)"
        )


def refuse_endless(training: Any, flag: str) -> None:
    """Refuse a flag that counts updates where nothing says how many there are."""
    if not training.optimization.max_update:
        raise LotteryError(
            f"{flag} counts updates, and only --max-update says how many there will be; give it"
            " (--max-epoch may end the run before)"
        )
