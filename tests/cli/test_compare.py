import json

import pytest
from small import MATRICES, Run

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import save_ticket
from fairseq_lottery.masks import overlap


@pytest.fixture
def tickets(tmp_path):
    run = Run(tmp_path)
    drawn = {"a": run.draw(), "b": run.draw(score="random"), "ffn": run.draw(prunable="ffn")}
    for name, ticket in drawn.items():
        save_ticket(tmp_path / f"{name}.safetensors", ticket)
    return {name: (t.mask, str(tmp_path / f"{name}.safetensors")) for name, t in drawn.items()}


def test_json_has_every_matrix_and_all(tickets, capsys):
    (a, path_a), (b, path_b) = tickets["a"], tickets["b"]
    assert main(["compare", path_a, path_b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["same"] and len(found["matrices"]) == MATRICES + 1
    for name, (shared, chance) in overlap(a, b).items():
        assert found["matrices"][name or "all"] == {"overlap": shared, "chance": chance}
    assert found["matrices"]["all"]["chance"] == pytest.approx(1 / 3), "two halves at random"


def test_the_table(tickets, capsys):
    path = tickets["a"][1]
    assert main(["compare", path, path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["matrix", "overlap", "chance"]
    assert lines[-3].split() == ["all", "matrices", "1.0000", "0.3333"]
    assert lines[-1] == "the two masks are the same"
    assert main(["compare", path, tickets["b"][1]]) == 0
    assert "the same" not in capsys.readouterr().out


def test_masks_over_different_matrices_are_refused(tickets, capsys):
    assert main(["compare", tickets["a"][1], tickets["ffn"][1]]) == 2
    assert "different prunable sets, which differ in decoder" in capsys.readouterr().err
