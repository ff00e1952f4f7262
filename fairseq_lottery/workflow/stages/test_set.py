"""Check a test set of fairseq-preprocess as fairseq-generate reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fairseq import utils
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY

from fairseq_lottery.adapters import adapter_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.training.task_mixin import LotteryTask
from fairseq_lottery.workflow.stages.references import read_lines, refuse_other_references


def set_up(name: str, cfg: Any) -> Any:
    """Set up fairseq's own task, or that of this package if fairseq's has no configuration.

    The check of ``LotteryTask`` is left out, because it reads the model of a translation, which
    does not exist yet.
    """
    if name in TASK_DATACLASS_REGISTRY:
        return TASK_REGISTRY[name].setup_task(cfg)
    return super(LotteryTask, TASK_REGISTRY[f"{name}_lottery"]).setup_task(cfg)


def refuse_unfit(cfg: Any, name: str, positions: Any, subset: str, references: Path) -> None:
    """Raise an error for a test set that cannot be translated and scored.

    Args:
        cfg: configuration of fairseq-generate.
        name: fairseq's name of a task that translates.
        positions: ``max_positions`` of the model, in tokens.
        subset: name of the test set.
        references: file of its raw text.

    Raises:
        LotteryError: a sentence is too long, or the references do not match.
    """
    task = set_up(name, cfg.task)
    task.load_dataset(subset)
    sentences = _only_pair(task.dataset(subset))
    whose = f"the set {subset} in {cfg.task.data}"
    limits = utils.resolve_max_positions(task.max_positions(), positions)
    _, too_long = sentences.filter_indices_by_size(np.arange(len(sentences)), limits)
    if too_long:
        number = too_long[0]
        lengths = tuple(map(int, sentences.size(number)))
        raise LotteryError(
            f"sentence {number} of {whose} has {lengths} tokens (source, target), which exceeds"
            f" the model's {limits}; remove it from the set and the references, or give"
            " --max-source-positions and --max-target-positions in both train and generate"
        )
    lines = read_lines(references)
    if len(lines) != len(sentences):
        raise LotteryError(f"{references} has {len(lines)} lines, expected {len(sentences)}, the"
                           f" sentences of {whose}; give the raw text of that set")  # fmt: skip
    if sentences.tgt is not None:
        added = adapter_of(name).vocabularies["target"].added_to(cfg.task)
        refuse_other_references(whose, _targets(task, cfg, sentences, added), lines)


def _only_pair(dataset: Any) -> Any:
    """Return the sentences of the only pair of languages in a set of a multilingual task."""
    while len(getattr(dataset, "datasets", ())) == 1:
        dataset = next(iter(dataset.datasets))
    return dataset


def _targets(task: Any, cfg: Any, sentences: Any, added: tuple[str, ...]) -> dict[int, str]:
    """Return targets as fairseq-generate prints them: detokenised, without subwords.

    Args:
        added: symbols that the task adds to the dictionary, such as language tokens.
    """
    ignored = {task.target_dictionary.index(symbol) for symbol in added}
    bpe, tokenizer = task.build_bpe(cfg.bpe), task.build_tokenizer(cfg.tokenizer)

    def text(number: int) -> str:
        tokens = sentences[number]["target"]
        target: str = task.target_dictionary.string(
            tokens, cfg.common_eval.post_process, escape_unk=True,
            extra_symbols_to_ignore=ignored,
        )  # fmt: skip
        target = target if bpe is None else bpe.decode(target)
        return target if tokenizer is None else tokenizer.decode(target)

    return {number: text(number) for number in range(len(sentences))}
