"""``fairseq-lottery translate``: the translations of ``fairseq-generate`` from a compact file."""

import io

import pytest
from small import save_checkpoint, weights
from toy import hypotheses

from fairseq_lottery.cli.main import main

pytest.importorskip("fairseq")


def run(monkeypatch, capsys, text, *arguments):
    """Exit code and what is printed, without what fairseq's imports print."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code = main(["translate", *map(str, arguments)])
    return code, capsys.readouterr()


@pytest.fixture(scope="module")
def pruned(toy_data, tmp_path_factory):
    """A training that is pruned to 80 %, and its compact file."""
    from toy import Toy

    toy = Toy(toy_data, tmp_path_factory.mktemp("pruned"))
    grow = ("--prune-to", 0.8, "--prune-start", 0, "--prune-end", 60, "--prune-every", 10)
    toy.train("run", *grow, updates=120).ok()
    last, compact = toy.path("run/checkpoint_last.pt"), toy.path("compact.safetensors")
    assert main(["export", str(last), "--to", "compact", "--out", str(compact)]) == 0
    return toy


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 60])
def test_the_translations_of_fairseq_generate(pruned, monkeypatch, capsys, size):
    text = (pruned.data.parent / "test.en").read_text()
    flags = ("--beam", 3, "--lenpen", 0.8, "--max-len-b", 30)
    theirs = hypotheses(pruned.generate("run/checkpoint_last.pt", *flags).ok())
    for name in ("compact.safetensors", "run/checkpoint_last.pt"):
        code, printed = run(
            monkeypatch, capsys, text, pruned.path(name), *flags, "--batch-size", size
        )
        assert code == 0
        assert printed.out.splitlines() == [theirs[number] for number in range(len(theirs))]


@pytest.mark.slow
def test_another_data_folder_and_blank_lines(pruned, tmp_path, monkeypatch, capsys):
    (tmp_path / "bin").symlink_to(pruned.data)
    flags = ("--data", tmp_path / "bin", "--max-len-b", 20)
    code, printed = run(
        monkeypatch, capsys, "w1 w2\n\nw3", pruned.path("compact.safetensors"), *flags
    )
    lines = printed.out.split("\n")
    assert code == 0 and len(lines) == 4 and lines[0] and not lines[1] and lines[2]
    assert run(monkeypatch, capsys, "", pruned.path("compact.safetensors"))[1].out == ""


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--beam", "0"), "--beam 0 is less than 1; give at least 1"),
        (("--batch-size", "0"), "--batch-size 0 is less than 1; give at least 1"),
        (("--remove-bpe", "xy"), "--remove-bpe xy is unknown; choose "),
        (("--data", "none"), "--data none: "),
    ],
)
def test_refusals(flags, said, tmp_path, monkeypatch, capsys):
    path = save_checkpoint(tmp_path / "model.pt", weights())
    code, printed = run(monkeypatch, capsys, "a b\n", path, *flags)
    assert code == 2 and printed.out == ""
    assert printed.err.startswith(f"fairseq-lottery: {said}") and printed.err.count("\n") == 1


def test_a_missing_file(tmp_path, monkeypatch, capsys):
    code, printed = run(monkeypatch, capsys, "a\n", tmp_path / "none.safetensors")
    assert code == 2 and "none.safetensors" in printed.err and printed.err.count("\n") == 1
