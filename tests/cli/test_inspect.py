import json

from small import Run

from fairseq_lottery.cli.main import main
from fairseq_lottery.tickets import save_ticket
from fairseq_lottery.tickets.inspection import inspect_file


def test_json_is_the_description(tmp_path, capsys):
    ticket = Run(tmp_path).draw(sparsity=0.9)
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, ticket)
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == inspect_file(path)
    assert {"sparsity", "prunable", "pruned", "matrices"} <= set(found)
    assert (found["pruned"], found["prunable"]) == (552, 620)
    assert sum(row["pruned"] for row in found["matrices"].values()) == 552
    assert sum(row["size"] for row in found["matrices"].values()) == 620


def test_the_table_of_a_ticket(tmp_path, capsys):
    ticket = Run(tmp_path).draw(reset="keep")
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, ticket)
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop(4).startswith("size 0.02 MB, ")
    assert lines[:5] == [
        f"{path}: ticket at update 5",
        "sparsity 0.5000: 310 of 620 prunable weights (768 parameters in all)",
        f"mask {ticket.mask.digest()}",
        "zeros and mask agree",
        "full precision: yes",
    ]
    rows = [line.split() for line in lines if line.startswith("encoder.embed_tokens.weight")]
    assert [row[1:4] for row in rows] == [["44", "22", "0.5000"]]
    assert "dead matrices: none" in lines
    assert f"signature: {ticket.record['signature']}" in lines


def test_the_table_of_a_dense_file(tmp_path, capsys):
    run = Run(tmp_path)
    assert main(["inspect", run.snapshot_5]) == 0
    printed = capsys.readouterr().out
    assert "mask none: zeros were counted in every weight matrix" in printed
    assert "sparsity 0.0000: 0 of 620 prunable weights" in printed
    assert "signature" not in printed
