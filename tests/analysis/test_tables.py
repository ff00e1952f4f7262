"""Printed tables: their lines fit a terminal, and every value is in its place."""

from fairseq_lottery.analysis.matrix_places import MATRICES
from fairseq_lottery.analysis.tables import WIDTH, by_place, pivot


def matrix_rows(layers, measures=("a-long-name-of-a-measure", "b")):
    for side, attention in (("encoder", ("self",)), ("decoder", ("self", "encoder"))):
        for layer in range(layers):
            names = [f"{one}_attn.{part}_proj" for one in attention for part in "qkv"]
            for number, name in enumerate([*names, "fc1"]):
                for measure in measures:
                    yield {
                        "measure": measure, "part": "x", "layer": layer + 1,
                        "matrix": f"{side}.layers.{layer}.{name}.weight",
                        "value": 100.5 * (side == "decoder") + 10 * layer + number,
                    }  # fmt: skip


def blocks(lines):
    return [[line.split() for line in one.split("\n")] for one in "\n".join(lines).split("\n\n")]


def test_matrices_have_a_table_for_each_measure():
    first, second = blocks(by_place([*matrix_rows(2)]))
    assert [first[0], second[0]] == [["a-long-name-of-a-measure"], ["b"]]
    assert first[1] == ["layer", "enc", "1", "enc", "2", "dec", "1", "dec", "2"]
    assert first[2] == ["self", "q", "0.000", "10", "100.500", "110.500"]
    assert first[5] == ["cross", "q", "-", "-", "103.500", "113.500"]
    assert [" ".join(line[:-4]) for line in first[2:]] == [
        name for name in MATRICES if "out" not in name and name != "fc2"
    ]


def test_wide_tables_are_divided():
    for layers in (6, 12, 40):
        lines = by_place([*matrix_rows(layers, ("m",))])
        assert max(map(len, lines)) <= WIDTH
        headers = [line.split()[2::2] for line in lines if line.startswith("layer")]
        numbers = [int(number) for header in headers for number in header]
        assert numbers == [*range(1, layers + 1)] * 2
        values = [cell for line in lines if line.startswith("fc1") for cell in line.split()[1:]]
        assert len(values) == 2 * layers and "-" not in values


def test_a_label_that_is_too_long_keeps_its_columns():
    rows = [{"measure": "m" * 90, "layer": n, "value": 0.5} for n in (1, 2)]
    lines = pivot("", rows, lambda row: row["measure"], lambda row: row["layer"])
    assert [line.split() for line in lines if "m" in line] == [["m" * 90, "0.500"]] * 2


def test_heads_have_a_table():
    rows = [
        {"measure": "m", "part": "enc_self", "layer": layer, "head": head, "matrix": matrix,
         "value": layer + head / 4 + (9 if matrix != "all" else 0)}
        for layer in (1, 2) for head in (1, 2, 3) for matrix in ("all", "q_proj")
    ]  # fmt: skip
    assert blocks(by_place(rows)) == [[
        ["m"], ["head", "1", "2", "3"],
        ["enc_self", "1", "1.250", "1.500", "1.750"], ["enc_self", "2", "2.250", "2.500", "2.750"],
    ]]  # fmt: skip
