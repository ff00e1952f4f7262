"""Adopt an existing run of fairseq as the dense run of a workflow.

Run in the training's environment as ``python -m fairseq_lottery.workflow.stages.adopt``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq_lottery.adapters import ADAPTERS, TRANSLATION, DataFolder
from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.formats import save_snapshot
from fairseq_lottery.formats.dictionaries import SPECIAL, Dictionaries, read_dictionaries
from fairseq_lottery.formats.source import Source, read_checkpoint, read_source
from fairseq_lottery.workflow.stages.selected_model import choose


def adopt(
    run: Path, out: Path, updates: list[int], models: list[str], last: int, data: DataFolder
) -> None:
    """Copy the snapshots that tickets need and the evaluated models from a run.

    Args:
        run: save-dir of the run, which is not changed.
        out: folder of the adopted training.
        updates: updates of the snapshots.
        models: models to write: ``best``, ``last`` or ``average:N``.
        last: ``--max-update`` of the configuration.
        data: data of the configuration; those of the run may have moved.

    Raises:
        LotteryError: the run is missing, ended at another update, lacks a checkpoint, or was
            trained on other data or for another task.
    """
    files = adoptable(run, updates, last)
    for update in updates:
        source = read_source(files[update])
        if source.is_pruned:
            raise LotteryError(f"{source.path} is pruned; adopt a dense run")
        record = {"update": update, "masters": source.masters, "adopted": str(run),
                  "architecture": source.architecture, **source.adapter.record}  # fmt: skip
        path = out / f"snapshot_{update}.safetensors"
        save_snapshot(path, source.weights, source.mask, dictionaries_in(data, source), record)
    for model in models:
        choose(run, model, out)


def adoptable(run: Path, updates: list[int], last: int) -> dict[int, Path]:
    """Return update -> file of a run that ``adopt`` accepts.

    Raises:
        LotteryError: the run is missing, ended at another update, or lacks a checkpoint.
    """
    if not (run / "checkpoint_last.pt").is_file():
        raise LotteryError(f"{run} has no checkpoint_last.pt to adopt; name a fairseq save-dir")
    files = _files(run)
    if last not in files:
        ends = max(files)
        raise LotteryError(
            f"the run in {run} ended at update {ends}, expected --max-update {last}; write"
            f" --max-update {ends} or adopt another run"
        )
    for update in updates:
        if update not in files:
            existing = ", ".join(map(str, sorted(files)))
            raise LotteryError(
                f"the run in {run} has no checkpoint of update {update}, only of {existing}; set"
                " rewind: to one of these (lt requires update 0), or train the dense run"
            )
    return files


def dictionaries_in(data: DataFolder, source: Source) -> Dictionaries:
    """Return the dictionaries of a data folder, which must match the weights of ``source``.

    Raises:
        LotteryError: the weights are of another task, or the dictionaries have other symbols.
    """
    if source.adapter.name != data.task:
        raise LotteryError(
            f"task of {source.path} is {source.adapter.name}, expected {data.task}; adopt a run of"
            " the configuration's task"
        )
    dictionaries = read_dictionaries(data)
    if source.in_file is not None:
        source.in_file.refuse_other(dictionaries, source.path)
    for name, vocabulary in source.adapter.vocabularies.items():
        weight = source.weights.get(vocabulary.embedding)
        rows = len(dictionaries[name]) + len(SPECIAL)
        if weight is not None and len(weight) != rows:
            raise LotteryError(
                f"{vocabulary.embedding} of {source.path} has {len(weight)} rows, expected {rows}"
                f" for the {name} dictionary in {data.path}; adopt a run that was trained on this"
                " data"
            )
    return dictionaries


def differences(run: Path, expected: Mapping[str, Any]) -> list[str]:
    """Return where a run's flags differ; flags that its fairseq lacks are skipped.

    Args:
        run: save-dir of the run.
        expected: flag, such as ``--dropout`` -> its parsed value.
    """
    trained = settings_in(read_checkpoint(run / "checkpoint_last.pt"))
    texts = []
    for flag, value in expected.items():
        name = flag.lstrip("-").replace("-", "_")
        if name in trained and _normalise(trained[name]) != _normalise(value):
            texts.append(f"{flag} {_normalise(trained[name])} instead of {_normalise(value)}")
    return texts


def settings_in(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a checkpoint as one flat mapping, for every version of fairseq."""
    return _settings(state.get("args")) | _settings(state.get("cfg"))


def _settings(stored: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    if isinstance(stored, argparse.Namespace):
        stored = vars(stored)
    for name, value in stored.items() if isinstance(stored, Mapping) else ():
        if isinstance(value, (argparse.Namespace, Mapping)):
            flat.update(_settings(value))
            # sections of optimizer, criterion and schedule store their own name as _name
            flat[name] = flat.pop("_name", None) or flat.get(name)
        else:
            flat[name] = value
    return flat


def _normalise(value: Any) -> str:
    """Return equal settings in one form: ``[0.0005]`` as 0.0005, ``masked_adam`` as adam."""
    text = re.sub(r"[\s\[\]()']", "", str(value))
    return re.sub(r"^masked_|_lottery$", "", text)


def _files(run: Path) -> dict[int, Path]:
    """Return update -> file with its weights, with at most one file in memory."""
    files: dict[int, Path] = {}
    for path in (*run.glob("checkpoint*.pt"), *run.glob("snapshot_*.safetensors")):
        files[int(read_source(path).update or 0)] = path
    return files


def main(argv: list[str] | None = None) -> None:
    """Adopt a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--updates", type=int, nargs="*", default=[])
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--last", type=int, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--task", choices=ADAPTERS, default=TRANSLATION.name)
    for flag in sorted({flag for task in ADAPTERS.values() for flag in task.data_flags.values()}):
        parser.add_argument(flag)
    args = parser.parse_args(argv)
    data = ADAPTERS[args.task].find_folder(vars(args))
    adopt(args.run, args.out, args.updates, args.models, args.last, data)


if __name__ == "__main__":
    with one_sentence():
        main()
