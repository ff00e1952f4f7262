import shlex

import pytest
from small import Run

from fairseq_lottery.cli import pack, unpack
from fairseq_lottery.cli.main import build_parser, main
from fairseq_lottery.formats import load_ticket, save_ticket


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_ticket("slt.safetensors", Run(tmp_path).draw())
    (tmp_path / "spm.model").write_bytes(b"\n\x04piec")
    (tmp_path / "train.txt").write_text(
        "fairseq-train bin -s en -t de --task translation_lottery --ticket slt.safetensors --lr 1\n"
    )
    return tmp_path


PACK = ["pack", "slt.safetensors", "--command", "train.txt", "--out", "slt.zip"]


def test_there_and_back(folder, capsys):
    ticket = load_ticket("slt.safetensors")
    assert main([*PACK, "--subwords", "spm.model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    size = (folder / "slt.safetensors").stat().st_size
    assert lines[-3:] == [
        f"{size:>12,}  ticket.safetensors",
        f"slt.zip: ticket {ticket.digest()}",
        ticket.record["signature"],
    ]
    assert lines[-4].endswith("6  subwords/spm.model") and "warning" not in lines[0]
    assert main(["unpack", "slt.zip", "--out", "there and back"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        f"there and back: ticket {ticket.digest()}\n{ticket.record['signature']}\n\n"
        "cd 'there and back'\n"
    )
    assert printed.endswith("    --save-dir checkpoints \\\n    --lr 1\n")
    assert "--srcdict dict.en.txt --tgtdict dict.de.txt --destdir data-bin" in printed


def test_a_missing_subword_model_is_warned_of(folder, capsys):
    assert main(PACK) == 0
    assert capsys.readouterr().out.startswith("warning: without --subwords, ")


def test_bad_input_is_one_sentence(folder, capsys):
    (folder / "train.txt").write_text("fairseq-generate bin\n")
    assert main(PACK) == 2 and not (folder / "slt.zip").exists()
    assert capsys.readouterr().err == (
        "fairseq-lottery: the command starts with 'fairseq-generate', expected fairseq-train;"
        " remove launchers before it\n"
    )
    assert main(["unpack", "train.txt", "--out", "out"]) == 2 and not (folder / "out").exists()
    assert capsys.readouterr().err == (
        "fairseq-lottery: train.txt is not a ticket archive, or corrupted (it does not end"
        " as a ZIP archive does)\n"
    )


def test_an_archive_is_replaced_on_request_only(folder, capsys):
    (folder / "slt.zip").write_text("mine")
    assert main(PACK) == 2 and (folder / "slt.zip").read_text() == "mine"
    assert main([*PACK, "--overwrite"]) == 0 and main(["unpack", "slt.zip", "--out", "out"]) == 0


@pytest.mark.parametrize("command", [pack, unpack])
def test_the_example_can_be_parsed(command):
    args = build_parser().parse_args(shlex.split(command.EXAMPLE)[1:])
    assert args.out in ("slt50.zip", "unpacked")
