"""``StageWriter``: what the command lines of one data set have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from fairseq_lottery.files import sha256_of
from fairseq_lottery.workflow.command_lines import train_env
from fairseq_lottery.workflow.reading.configuration import Configuration


class StageWriter:
    """Writes command lines for one data set.

    Args:
        configuration: configuration of the data set.
        executor: what starts the stages: ``local`` or ``slurm``.

    Attributes:
        device: flags of commands that run a model.
    """

    def __init__(self, configuration: Configuration, executor: str) -> None:
        self.configuration = configuration
        self.executor = executor
        self.device = () if configuration.resources.gpus else ("--cpu",)
        self._python = train_env.interpreter(configuration)
        #: starts of file names -> file -> SHA-256
        self._sentences: dict[tuple[str, ...], dict[str, Optional[str]]] = {}

    def lottery(self, *words: object) -> tuple[str, ...]:
        """Return the command line of ``fairseq-lottery`` with ``words``."""
        return self.module("fairseq_lottery.cli.main", *words)

    def module(self, name: str, *words: object) -> tuple[str, ...]:
        """Return the command line of a module with ``words``."""
        return (self._python, "-m", name, *map(str, words))

    def digests(self, *stems: str) -> dict[str, Optional[str]]:
        """Return the SHA-256 of each file of a test set.

        Args:
            stems: starts of the names of its files; a dot follows them.
        """
        if stems not in self._sentences:
            data, kinds = self.configuration.data, (".bin", ".idx", ".label")
            folders = [data / folder for folder in self.configuration.task.folders]
            files = [p for f in folders for stem in stems for p in sorted(f.glob(f"{stem}.*"))]
            self._sentences[stems] = {
                path.relative_to(data).as_posix(): digest_of(path)
                for path in files
                if path.suffix in kinds
            }
        return self._sentences[stems]


def digest_of(path: Path) -> Optional[str]:
    """Return the SHA-256 of a file; None if it does not exist yet."""
    return sha256_of(path) if path.is_file() else None
