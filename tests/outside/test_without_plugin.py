"""An exported model is a model of plain fairseq: the same translations without this package."""

import re
import subprocess
import sys

import pytest
from toy import drawing

pytest.importorskip("fairseq")

pytestmark = pytest.mark.slow

#: fairseq-generate in an interpreter in which this package cannot be imported
PLAIN = (
    "import sys; sys.modules['fairseq_lottery'] = None;"
    "from fairseq_cli.generate import cli_main; cli_main()"
)


def said(output):
    """Sentence number -> score and translation, as printed."""
    return dict(re.findall(r"^H-(\d+)\t(.*)$", output, re.M))


def plain_generate(toy, checkpoint):
    words = [toy.data, "-s", "en", "-t", "de", "--path", toy.path(checkpoint), "--beam", 2,
             "--max-tokens", 1000, "--max-len-b", 30,
             "--required-batch-size-multiple", 1]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", PLAIN, *map(str, words)], cwd=toy.folder, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_exported_translates_as_the_pruned_checkpoint_does(toy, dense):
    from fairseq_lottery.export.checkpoint_forms import export

    toy.train("slt", *drawing(dense, 0.8)).ok()
    export(toy.path("slt", "checkpoint_last.pt"), toy.path("plain.pt"))
    ours = said(toy.generate("slt/checkpoint_last.pt").ok().out)
    plain = plain_generate(toy, "plain.pt")
    assert plain.returncode == 0, plain.stderr[-3000:]
    assert len(ours) == 50
    assert said(plain.stdout) == ours
