"""What a training's own flags (not ours) say that masks depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from fairseq_lottery.compat import whole_config


@dataclass(frozen=True)
class Settings:
    """fairseq's settings of one training, from all over its configuration."""

    log_interval: int
    max_update: int
    max_epoch: int
    stop_time_hours: float
    patience: int
    save_dir: str
    restore_file: str
    finetune_from_model: Optional[str]
    continue_once: Optional[str]
    reset_optimizer: bool
    reset_dataloader: bool
    checkpoint_suffix: str
    best_checkpoint_metric: str
    half: bool
    memory_efficient: bool
    amp: bool
    ema: bool
    ema_fp32: bool
    ema_seed_model: Optional[str]
    optimizer: str
    criterion: str
    lr_scheduler: str

    @classmethod
    def of(cls, task_cfg: Any) -> Settings:
        """Read them from the configuration that ``task_cfg`` is a part of."""
        whole = whole_config(task_cfg)
        common, checkpoint = whole.common, whole.checkpoint
        return cls(
            log_interval=common.log_interval,
            max_update=whole.optimization.max_update,
            max_epoch=whole.optimization.max_epoch,
            stop_time_hours=whole.optimization.stop_time_hours,
            patience=checkpoint.patience,
            save_dir=checkpoint.save_dir,
            restore_file=checkpoint.restore_file,
            finetune_from_model=checkpoint.finetune_from_model,
            continue_once=checkpoint.get("continue_once"),
            reset_optimizer=bool(checkpoint.reset_optimizer),
            reset_dataloader=bool(checkpoint.reset_dataloader),
            checkpoint_suffix=checkpoint.checkpoint_suffix or "",
            best_checkpoint_metric=checkpoint.best_checkpoint_metric,
            half=bool(common.fp16 or common.bf16),
            memory_efficient=bool(common.memory_efficient_fp16 or common.memory_efficient_bf16),
            amp=bool(common.get("amp")),
            ema=bool(whole.ema.store_ema),
            ema_fp32=bool(whole.ema.ema_fp32),
            ema_seed_model=whole.ema.ema_seed_model,
            optimizer=whole.optimizer._name,
            criterion=whole.criterion._name,
            lr_scheduler=whole.lr_scheduler._name,
        )
