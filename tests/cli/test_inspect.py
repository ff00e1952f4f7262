import json

from small import Run

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import save_ticket
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
    assert lines.pop(5) == (
        "patterns N:M (at most N of M weights in a row kept): 4 x 2:4, 18 x 3:4"
    )
    assert lines[:5] == [
        f"{path}: ticket at update 5",
        "sparsity 0.5000: 310 of 620 prunable weights (768 parameters in all)",
        f"mask {ticket.mask.digest()}",
        "zeros and mask agree",
        "full precision: yes",
    ]
    rows = [line.split() for line in lines if line.startswith("encoder.embed_tokens.weight")]
    assert [row[1:4] for row in rows] == [["44", "22", "0.5000"]]
    assert [row[5] for row in rows] == ["-"], "the padding row is kept whole"
    assert "dead matrices: none" in lines
    assert f"signature: {ticket.record['signature']}" in lines


def test_the_table_says_that_each_matrix_is_rounded(tmp_path, capsys):
    run = Run(tmp_path)
    path = tmp_path / "ticket.safetensors"

    def lines(**axes):
        save_ticket(path, run.draw(**axes), overwrite=True)
        assert main(["inspect", str(path)]) == 0
        return capsys.readouterr().out.splitlines()

    # matrices of 16, 24 and 44 weights: 14, 22 and 40 are pruned where 14.4, 21.6 and 39.6 would be
    assert lines(sparsity=0.9)[1:3] == [
        "sparsity 0.8903: 552 of 620 prunable weights (768 parameters in all)",
        "--sparsity 0.9 of all prunable weights is 558; --scope layer rounds each matrix to whole"
        " weights",
    ]
    for axes in ({"sparsity": 0.5}, {"sparsity": 0.9, "scope": "global"}):
        assert not any("rounds each matrix" in line for line in lines(**axes)), axes


def test_the_table_of_a_pattern(tmp_path, capsys):
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, Run(tmp_path).draw(scope="2:4", keep_dense="fc2"))
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "patterns N:M (at most N of M weights in a row kept): 28 x 2:4" in lines
    ends = {line.split()[0]: line.split()[-1] for line in lines if ".weight " in line}
    assert len(ends) == 29 and ends.pop("encoder.embed_tokens.weight") == "-"
    assert set(ends.values()) == {"2:4"}
    assert "scope: 2:4" in lines


def test_the_table_of_a_dense_file(tmp_path, capsys):
    run = Run(tmp_path)
    assert main(["inspect", run.snapshot_5]) == 0
    printed = capsys.readouterr().out
    assert "mask none: zeros of every weight matrix were counted" in printed
    assert "sparsity 0.0000: 0 of 620 prunable weights" in printed
    assert "patterns N:M (at most N of M weights in a row kept): none" in printed
    assert "signature" not in printed
