"""Check that all data exist, and are those of all previous starts in the folder."""

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
    """Check data, references, adopted runs and pre-trained weights of all data sets.

    Data are compared by content: after a change under the same name, a folder would mix trainings
    on different data.

    Returns:
        size, time and SHA-256 of each file that trainings depend on, for ``note_data``.

    Raises:
        LotteryError: a file is missing, or the data differ from those of the folder.
    """
    before = _noted(configuration)
    checked = {}
    for data_set in configuration.data_sets:
        prefix = f"{data_set.data_name}/" if data_set.data_name else ""
        own = {n[len(prefix) :]: file for n, file in before.items() if n.startswith(prefix)}
        checked.update({prefix + n: file for n, file in _check_data_set(data_set, own).items()})
    return checked


def _check_data_set(
    configuration: Configuration, before: dict[str, DataFile]
) -> dict[str, DataFile]:
    """Check one data set; return its files as ``check_files`` does.

    Args:
        before: files of the data set at the previous start.
    """
    error = configuration.source.error
    data, files = configuration.data, data_files(configuration)
    if not any(path.name.startswith("train.") for path in files):
        problem = "has no train.*.bin" if data.is_dir() else "does not exist"
        command = configuration.prepare or "fairseq-preprocess"
        raise error(("data",), f"the data folder {data} {problem}; run {command} first")
    valid = configuration.train.get("--valid-subset")
    subsets: list[tuple[tuple[str, ...], Key]] = [
        ((subset,), ("train",) if valid else ("data",)) for subset in (valid or "valid").split(",")
    ]
    has_key = "evaluate" in configuration.source.values
    for number, evaluation in enumerate(configuration.translations):
        key: Key = ("evaluate", number, "subset") if has_key else ("data",)
        subsets.append((evaluation.file_stems, key))
    for stems, key in subsets:
        starts = tuple(f"{stem}." for stem in stems)
        if not any(path.name.startswith(starts) for path in files):
            raise error(key, f"the data folder {data} has no {stems[0]}.*.bin; give"
                        f" fairseq-preprocess --{stems[0].partition('.')[0]}pref")  # fmt: skip
    for (*_, references), key in configuration.test_sets.items():
        if not references.is_file():
            advice = f"; run {configuration.prepare} first" if configuration.prepare else ""
            raise error(key, f"there is no file {references} with references, the raw text of the"
                        f" test set{advice}")  # fmt: skip
    for folder in configuration.adopted_folders:
        if not Path(folder, "checkpoint_last.pt").is_file():
            raise error(("adopt", "dense"), f"{folder} has no checkpoint_last.pt to adopt")
    if configuration.pretrained is not None and not configuration.pretrained.is_file():
        raise error(("pretrained",), f"there is no checkpoint {configuration.pretrained}")
    names = {path.relative_to(data).as_posix(): path for path in files}
    used = {name: path for name, path in names.items() if _is_used(name, configuration)}
    now = {name: _identity(path, before.get(name)) for name, path in used.items()}
    for name, then in before.items():
        if _is_used(name, configuration) and (name not in now or now[name].sha256 != then.sha256):
            raise error(
                ("data",),
                f"{name} in {data} differs from the data of the trainings in"
                f" {configuration.out}; give another --out",
            )
    return now


def data_files(configuration: Configuration) -> list[Path]:
    """Return dictionaries, binary data and labels in the data folder; empty if it is missing."""
    folders = [configuration.data / folder for folder in configuration.task.folders]
    kinds = ("dict*.txt", "*.bin", "*.label")
    return [path for folder in folders for kind in kinds for path in sorted(folder.glob(kind))]


def note_data(configuration: Configuration, data: dict[str, DataFile]) -> None:
    """Write the result of ``check_files`` for later starts.

    Call it after all checks, so that a start that fails does not tie the folder to its data.
    """
    if data != _noted(configuration):
        content = {name: vars(file) for name, file in data.items()}
        write_file(configuration.out / DATA, content, indent=1)


def _noted(configuration: Configuration) -> dict[str, DataFile]:
    return read_file(configuration.out / DATA, dict[str, DataFile]) or {}


def _is_used(name: str, configuration: Configuration) -> bool:
    """Return whether trainings depend on a file; a test set may change."""
    flags = configuration.train
    subsets = [
        subset
        for flag in ("--train-subset", "--valid-subset")
        for subset in (flags.get(flag) or "").split(",")
    ]
    stem = name.rpartition("/")[2].partition(".")[0]
    # fairseq reads train1, train2, ... along with train
    return stem in subsets or bool(re.fullmatch(r"dict|(train|valid)\d*", stem))


def _identity(path: Path, before: Optional[DataFile]) -> DataFile:
    """Return a file's size, time and SHA-256; read it only if size or time has changed."""
    status = os.stat(path)
    current = status.st_size, status.st_mtime_ns
    if before is not None and (before.size, before.time) == current:
        return before
    return DataFile(*current, sha256_of(path))
