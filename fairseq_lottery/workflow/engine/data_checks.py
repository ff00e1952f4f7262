"""The data of a folder: all there, and the same as at every start before."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Optional

from fairseq_lottery.files import sha256_of
from fairseq_lottery.records.json_files import read_file, write_file
from fairseq_lottery.records.stage_records import DataFile
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.reading.yaml_lines import Key

DATA = "data.json"


def check_files(configuration: Configuration) -> dict[str, DataFile]:
    """Refuse missing or other data, references of other sentences, or a missing adopted run.

    The data of a folder are known by their content: with other data under the same name,
    finished trainings would stand beside new ones that learned something else.

    Returns:
        what is known of each file that trainings depend on, for ``note_data``.
    """
    error = configuration.source.error
    data = configuration.data
    files = sorted(data.glob("dict*.txt")) + sorted(data.glob("*.bin")) if data.is_dir() else []
    if not any(path.name.startswith("train.") for path in files):
        what = "has no train.*.bin" if data.is_dir() else "is not there"
        command = configuration.prepare or "fairseq-preprocess"
        raise error(("data",), f"the data folder {data} {what}; run {command} first")
    named = configuration.train.get("--valid-subset")
    asked: list[tuple[str, Key]] = [
        (subset, ("train",) if named else ("data",)) for subset in (named or "valid").split(",")
    ]
    for number, evaluation in enumerate(configuration.translations):
        written = "evaluate" in configuration.source.values
        asked.append((evaluation.subset, ("evaluate", number, "subset") if written else ("data",)))
    for subset, key in asked:
        if not any(path.name.startswith(f"{subset}.") for path in files):
            raise error(key, f"the data folder {data} has no {subset}.*.bin; give"
                        f" fairseq-preprocess --{subset}pref")  # fmt: skip
    for (_, references), key in configuration.test_sets.items():
        if not references.is_file():
            advice = f"; run {configuration.prepare} first" if configuration.prepare else ""
            raise error(key, f"the references {references} are not there; they are the raw text of"
                        f" the test set{advice}")  # fmt: skip
    for folder in configuration.adopted_folders:
        if not Path(folder, "checkpoint_last.pt").is_file():
            raise error(("adopt", "dense"), f"{folder} has no checkpoint_last.pt to adopt")
    before = _noted(configuration)
    learned = [path for path in files if _is_learned(path.name, configuration)]
    now = {path.name: _identity(path, before.get(path.name)) for path in learned}
    for name, then in before.items():
        if _is_learned(name, configuration) and (
            name not in now or now[name].sha256 != then.sha256
        ):
            raise error(
                ("data",),
                f"{data} holds other data than this folder's runs were trained on"
                f" ({name} differs); give another --out",
            )
    return now


def note_data(configuration: Configuration, data: dict[str, DataFile]) -> None:
    """Keep what the folder's runs are trained on, as ``check_files`` found it.

    Once a start is accepted: a refused one must not tie a folder to its data.
    """
    if data != _noted(configuration):
        content = {name: vars(file) for name, file in data.items()}
        write_file(configuration.out / DATA, content, indent=1)


def _noted(configuration: Configuration) -> dict[str, DataFile]:
    return read_file(configuration.out / DATA, dict[str, DataFile]) or {}


def _is_learned(name: str, configuration: Configuration) -> bool:
    """Whether trainings depend on a file: a test set may come to be another."""
    flags = configuration.train
    subsets = [
        subset
        for flag in ("--train-subset", "--valid-subset")
        for subset in (flags.get(flag) or "").split(",")
    ]
    stem = name.partition(".")[0]
    # fairseq reads train1, train2, ... along with train
    return stem in subsets or bool(re.fullmatch(r"dict|(train|valid)\d*", stem))


def _identity(path: Path, before: Optional[DataFile]) -> DataFile:
    """What is known of a file; it is read only where its size or time has changed."""
    status = os.stat(path)
    seen = status.st_size, status.st_mtime_ns
    if before is not None and (before.size, before.time) == seen:
        return before
    return DataFile(*seen, sha256_of(path))
