import os

import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.reading.yaml_lines import Lines

TEXT = """\
# a comment
title: Small
train: >-
  --lr 7e-4

  --seed=3 --clip-norm 1
techniques:
  - mp
  - slt:
      rewind: [10, 20]
      update_counter: restart
resources: {gpus: 1,
            train: {runtime: 600}}
"""


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(TEXT)
    return Lines(path)


@pytest.mark.parametrize("text", ["2:4", "'2:4'", '"2:4"', "!!str 2:4", "2:4 # of each row"])
def test_a_value_as_it_is_written(tmp_path, text):
    """Without quotes YAML 1.1 has two minutes and four seconds."""
    path = tmp_path / "c.yaml"
    path.write_text(f"scope: {text}\nlist: [2:4]\nnothing:\n")
    found = Lines(path)
    assert found.text_at(("scope",)) == "2:4" and found.values["scope"] in (124, "2:4")
    assert found.text_at(("list", 0)) == "2:4"
    assert [found.text_at((name,)) for name in ("list", "nothing", "none")] == ["", "", ""]


@pytest.mark.parametrize(
    ("key", "near", "line"),
    [
        (("title",), "", 2),
        (("train",), "", 3),
        (("train",), "--lr", 4),
        (("train",), "--seed", 6),
        (("train",), "--none", 3),
        (("techniques",), "", 7),
        (("techniques", 0), "", 8),
        (("techniques", 1, "slt"), "", 9),
        (("techniques", 1, "slt", "rewind"), "", 10),
        (("techniques", 1, "slt", "rewind", 1), "", 10),
        (("techniques", 1, "slt", "update_counter"), "", 11),
        (("techniques", 1, "slt", "none", 5), "", 9),
        (("resources", "train", "runtime"), "", 13),
        (("nowhere",), "", 1),
        ((), "", 1),
    ],
)
def test_every_value_knows_its_line(lines, key, near, line):
    error = lines.error(key, "it is wrong", near)
    assert isinstance(error, LotteryError)
    assert str(error) == f"{lines.path}, line {line}: it is wrong"


def test_values(lines):
    slt = {"rewind": [10, 20], "update_counter": "restart"}
    assert lines.values["techniques"][1] == {"slt": slt}
    assert lines.values["train"] == "--lr 7e-4\n--seed=3 --clip-norm 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", ", line 3: a is given twice; "),
        ("a:\n  - b: {c: 1,\n        c: 2}\n", ", line 3: c is given twice; "),
        ("a: 1\nb: [1, 2\nc: 3\n", ", line 3: invalid YAML ("),
        ("a: 1\n\tb: 2\n", ", line 2: invalid YAML ("),
        ("a: 1\n---\nb: 2\n", ", line 2: invalid YAML ("),
        ("a: *none\n", ", line 1: invalid YAML ("),
        ("a: 1\nb: !own 2\n", ", line 2: invalid YAML ("),
        ("a: 1\n? [b]\n: 2\n", ", line 2: invalid YAML ("),
        ("a: 1\nb: \x07\n", ": invalid YAML ("),
        ("a: 2020-13-45\n", ": invalid YAML (month must be in 1..12"),
        ("- a\n- b\n", ": expected a mapping; "),
        ("just text\n", ": expected a mapping; "),
        ("", ": expected a mapping; "),
    ],
)
def test_what_is_no_configuration(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(LotteryError) as refusal:
        Lines(path)
    assert str(refusal.value).startswith(f"{path}{message}")


def test_no_file_at_all(tmp_path):
    with pytest.raises(LotteryError, match="^there is no file .*none.yaml$"):
        Lines(tmp_path / "none.yaml")
    with pytest.raises(LotteryError, match="cannot be read: .*Is a directory"):
        Lines(tmp_path)
    (tmp_path / "latin").write_bytes(b"title: \xe4\n")
    with pytest.raises(LotteryError, match="latin cannot be read: 'utf-8' codec"):
        Lines(tmp_path / "latin")


LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGES = "m0: &m0 {a: 1}\n" + "".join(
    f"m{n}: &m{n}\n  <<: [{', '.join([f'*m{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, " exceeds 100000 values"),
        (MERGES, " exceeds 100000 values"),
        ("a: &a [*a]\n", " is nested too deeply "),
        ("a: " + "[" * 40 + "]" * 40, " is nested too deeply "),
        ("a: " + "[" * 5000 + "]" * 5000, ": invalid YAML (it is nested too deeply)"),
        ("a: 1\nb: 2020-01-01\n", ", line 2: type date is"),
        ("a:\n  - !!binary aGVsbG8=\n", ", line 2: type bytes is"),
        ("a: {b: .nan}\n", ", line 1: nan is not"),
        ("a: 0x" + "f" * 500 + "\n", ", line 1: a number exceeds 64 bits"),
        ("a: 1\n1: 2\n", ", line 2: key 1 is"),
        ('a: "\\e[2J"\n', ", line 1: text '\\x1b[2J' has"),
    ],
)
def test_what_stands_for_more_than_a_configuration_has(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(LotteryError) as refusal:
        Lines(path)
    assert str(refusal.value).startswith(f"{path}{message}")


def test_aliases_are_welcome(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, x: 3}\nc: *a\n")
    assert Lines(path).values["b"] == {"x": 3, "y": [1, 2]}
    assert Lines(path).values["c"] == Lines(path).values["a"]


def test_a_pipe_and_a_file_that_is_too_large(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LotteryError, match="pipe cannot be read: it is a pipe or a device"):
        Lines(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(LotteryError, match="cannot be read: it has 1048577 bytes, more than"):
        Lines(tmp_path / "large")


@pytest.mark.parametrize(
    "value",
    ["!!bool maybe", '!!int ""', "!!int _", '!!float ""', "!!timestamp x",
     ":".join(["1"] * 400) + ".0"],
)  # fmt: skip
@pytest.mark.parametrize("text", ["title: {}", "list: [{}]", "{}: key"])
def test_a_value_that_is_not_what_its_tag_says(tmp_path, value, text):
    path = tmp_path / "c.yaml"
    path.write_text(text.format(value) + "\n")
    with pytest.raises(
        LotteryError, match=r"c.yaml: invalid YAML \(a value "
    ):
        Lines(path)


@pytest.mark.parametrize(
    "value",
    [":".join(["1"] * 500), "9" * 1001, "0x" + "f" * 1000, "9" * 1001 + ".0", "1" * 1001 + ".e+5",
     "!!int " + "1" * 1001, "!!binary " + "a" * 1001],
)  # fmt: skip
@pytest.mark.parametrize(("text", "line"), [("a: 1\nb: {}", 2), ("a: [1,\n2, {}]", 2), ("? {}", 1)])
def test_a_number_of_a_thousand_characters_is_not_computed(
    tmp_path, monkeypatch, value, text, line
):
    """A megabyte of 1:1:1 takes a minute."""
    monkeypatch.setattr("yaml.SafeLoader.construct_document", lambda *a: pytest.fail("computed"))
    path = tmp_path / "c.yaml"
    path.write_text(text.format(value if len(value) > 1000 else value + ":1") + "\n")
    with pytest.raises(
        LotteryError, match=rf"c.yaml, line {line}: a number of \d+ characters"
    ):
        Lines(path)


def test_a_text_may_be_longer_than_any_number(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"a: {'--flag ' * 1000}\nb: '{'1' * 5000}'\nc: >-\n  {'9' * 5000}\n")
    found = Lines(path).values
    assert [len(value) for value in found.values()] == [6999, 5000, 5000]
