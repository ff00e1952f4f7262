"""An existing run of fairseq as the dense run of a workflow.

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
from fairseq_lottery.formats.dictionaries import SPECIAL, Dictionaries, read_dictionaries
from fairseq_lottery.formats.source import Source, read_checkpoint, read_source
from fairseq_lottery.workflow.stages.selected_model import choose


def adopt(
    run: Path, out: Path, updates: list[int], models: list[str], last: int, data: DataFolder
) -> None:
    """Copy what tickets need of a run's weights, and the models that are judged.

    Args:
        run: its save-dir; read, never changed.
        out: folder of the adopted training.
        updates: at which the weights are needed.
        models: of ``best``, ``last`` and ``average:N``.
        last: ``--max-update`` of the configuration.
        data: of the configuration; the run may name a folder that is not there any more.

    Raises:
        LotteryError: the run is not there, ended elsewhere, has no checkpoint at an update, or was
            trained on other data or for another task.
    """
    from fairseq_lottery.formats import save_snapshot

    files = adoptable(run, updates, last)
    for update in updates:
        source = read_source(files[update])
        if source.is_pruned:
            raise LotteryError(f"{source.path} is pruned; only a dense run can be adopted as one")
        record = {"update": update, "masters": source.masters, "adopted": str(run),
                  "architecture": source.architecture, **source.adapter.record}  # fmt: skip
        path = out / f"snapshot_{update}.safetensors"
        save_snapshot(path, source.weights, source.mask, dictionaries_in(data, source), record)
    for model in models:
        choose(run, model, out)


def adoptable(run: Path, updates: list[int], last: int) -> dict[int, Path]:
    """Update -> file of a run that has what is asked of it; see ``adopt``."""
    if not (run / "checkpoint_last.pt").is_file():
        raise LotteryError(f"{run} has no checkpoint_last.pt to adopt; name a fairseq save-dir")
    files = _files(run)
    if last not in files:
        ends = max(files)
        raise LotteryError(
            f"the run in {run} ended at update {ends}, not at --max-update {last}; write"
            f" --max-update {ends} or adopt another"
        )
    for update in updates:
        if update not in files:
            there = ", ".join(map(str, sorted(files)))
            raise LotteryError(
                f"the run in {run} has no checkpoint of update {update} that survivors could go"
                f" back to, only of {there}; set rewind: to one of these (lt goes back to 0), or"
                " train the dense run"
            )
    return files


def dictionaries_in(data: DataFolder, source: Source) -> Dictionaries:
    """Read the dictionaries of a data folder, which the weights of ``source`` must fit.

    Raises:
        LotteryError: the weights are of another task, or the dictionaries have other symbols or
            not as many.
    """
    if source.adapter.name != data.task:
        raise LotteryError(
            f"{source.path} is of the task {source.adapter.name}, expected {data.task}; adopt a run"
            " of the configuration's task"
        )
    found = read_dictionaries(data)
    if source.in_file is not None:
        source.in_file.refuse_other(found, source.path)
    for name, vocabulary in source.adapter.vocabularies.items():
        weight = source.weights.get(vocabulary.embedding)
        rows = len(found[name]) + len(SPECIAL)
        if weight is not None and len(weight) != rows:
            raise LotteryError(
                f"{vocabulary.embedding} of {source.path} has {len(weight)} symbols, and the {name}"
                f" dictionary in {data.path} has {rows} with fairseq's own; adopt a run that was"
                " trained on this data"
            )
    return found


def differences(run: Path, meant: Mapping[str, Any]) -> list[str]:
    """Where a run was trained otherwise than meant; a flag that its fairseq lacks is passed over.

    Args:
        run: its save-dir.
        meant: flag, as ``--dropout``, -> its parsed value.
    """
    trained = settings_in(read_checkpoint(run / "checkpoint_last.pt"))
    found = []
    for flag, value in meant.items():
        name = flag.lstrip("-").replace("-", "_")
        if name in trained and _plain(trained[name]) != _plain(value):
            found.append(f"{flag} {_plain(trained[name])} instead of {_plain(value)}")
    return found


def settings_in(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a checkpoint in one level, whichever fairseq stored them."""
    return _settings(state.get("args")) | _settings(state.get("cfg"))


def _settings(stored: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(stored, argparse.Namespace):
        stored = vars(stored)
    for name, value in stored.items() if isinstance(stored, Mapping) else ():
        if isinstance(value, (argparse.Namespace, Mapping)):
            found.update(_settings(value))
            # an optimizer's, a criterion's or a schedule's section says which it is by _name
            found[name] = found.pop("_name", None) or found.get(name)
        else:
            found[name] = value
    return found


def _plain(value: Any) -> str:
    """``[0.0005]`` and ``0.0005``, ``adam`` and ``masked_adam`` are the same."""
    text = re.sub(r"[\s\[\]()']", "", str(value))
    return re.sub(r"^masked_|_lottery$", "", text)


def _files(run: Path) -> dict[int, Path]:
    """Update -> a file with the weights of it; one at a time is in memory."""
    found: dict[int, Path] = {}
    for path in (*run.glob("checkpoint*.pt"), *run.glob("snapshot_*.safetensors")):
        found[int(read_source(path).update or 0)] = path
    return found


def main(argv: list[str] | None = None) -> None:
    """Parse and adopt."""
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
