"""prepare.sh with a fairseq-preprocess that only makes its folder: what is repeated or refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

pytest.importorskip("sentencepiece")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def prepare(tmp_path):
    """Runs the script on a small text; gives its exit code, output and errors."""
    programs, data = tmp_path / "programs", tmp_path / "data"
    for folder in (programs, data, tmp_path / "other"):
        folder.mkdir()
    for name, line in (("python", f'exec {sys.executable} "$@"'),
                       ("fairseq-preprocess", 'mkdir "$7"')):  # fmt: skip
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    for part in ("train", "valid", "test"):
        for language in ("en", "de", "fr"):
            lines = [f"a {part} of words in {language}, {number}" for number in range(20)]
            (data / f"{part}.{language}").write_text("\n".join(lines) + "\n")

    def run(*words, vocabulary=60):
        where = f"{programs}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", EXAMPLES / "parallel_text/prepare.sh", *words], cwd=tmp_path,
            env={**os.environ, "PATH": where, "VOCABULARY": str(vocabulary)},
            capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_folder_keeps_what_it_was_prepared_with(prepare, tmp_path):
    words = ("data", "en", "de", "text")
    ready = (0, "text/data-bin and text/test.de are ready\n", "")
    assert prepare(*words) == ready
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "text").rglob("*")}
    assert prepare(*words) == ready
    advice = "; give another OUT, or remove it\n"
    refusal = "text was prepared with other settings (VOCABULARY=60)" + advice
    assert prepare(*words, vocabulary=64) == (2, "", refusal)
    code, out, errors = prepare("data", "en", "fr", "text")
    assert (code, out) == (2, "") and "(languages en de,train.de with checksum " in errors
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "text").rglob("*")} == made
    assert prepare("data", "en", "de", "more", vocabulary=64)[0] == 0

    (tmp_path / "data/test.de").write_text("another\n")
    code, _, errors = prepare(*words)
    assert code == 2 and errors.startswith("text was prepared with other settings (test.de with")
    (tmp_path / "more/settings.txt").unlink()  # as before they were recorded
    code, _, errors = prepare("data", "en", "de", "more", vocabulary=64)
    assert code == 2 and "other settings (not recorded)" in errors


def test_a_vocabulary_that_is_too_large_is_no_setting(prepare):
    code, _, errors = prepare("data", "en", "de", "text", vocabulary=9000)
    assert code != 0 and "failed; see text/bpe.log and text/preprocess.log" in errors
    assert prepare("data", "en", "de", "text")[0] == 0


def test_configurations_of_two_vocabularies_have_folders_of_their_own():
    names = ("heads/heads.yaml", "parallel_text/table1.yaml")
    found = [read_configuration(EXAMPLES / name) for name in names]
    for configuration, folder in zip(found, ("heads", "parallel_text")):
        assert configuration.data == EXAMPLES / folder / "text/data-bin"
        assert configuration.references == EXAMPLES / folder / "text/test.de"
