"""Drops of languages by pruned group of layers, and their tests against the metadata."""

import csv
import json
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kruskal, spearmanr

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.languages.drop_tests import CONTRAST, drop_tests, summary
from fairseq_lottery.languages.drops import choices_by_group, with_facts
from fairseq_lottery.languages.metadata import Metadata

ENCODER = Anatomy({f"encoder.layers.{n}.self_attn": 4 for n in range(6)}, {})
BOTH = Anatomy(
    {f"encoder.layers.{n}.self_attn": 4 for n in range(3)}
    | {f"decoder.layers.{n}.{a}": 2 for n in range(2) for a in ("self_attn", "encoder_attn")},
    {},
)
NAMES = ("aa", "bb", "cc", "dd", "ee")
#: language -> relative drop of the bottom and of the top third
DROPS = {"aa": (0.1, 0.9), "bb": (0.2, 0.7), "cc": (0.5, 0.4), "dd": (0.8, 0.3), "ee": (0.6, 0.1)}
ORDER = ("SVO", "SVO", "SVO", "SOV", "SOV")
SIZES = (500.0, 400.0, 10.0, 20.0, 30.0)


def metadata(**columns):
    return Metadata("facts.tsv", {name: dict(zip(NAMES, v)) for name, v in columns.items()})


def rows():
    return [
        {"language": name, "group": group, "kind": "enc_self", "relative_drop": drop}
        for name, drops in DROPS.items()
        for group, drop in zip(("bottom", "top"), drops)
    ]


def row_of(tests, group, column):
    (row,) = (row for row in tests if (row["group"], row["column"]) == (group, column))
    return row


def test_each_group_prunes_all_heads_of_a_kind():
    choices = choices_by_group(ENCODER, "thirds")
    assert list(choices) == [(third, "enc_self") for third in ("bottom", "middle", "top")]
    pruned = {name for name, _ in choices["middle", "enc_self"].pruned("heads")}
    assert pruned == {"encoder.layers.2.self_attn", "encoder.layers.3.self_attn"}
    assert choices["middle", "enc_self"].count_pruned("heads") == 8


def test_a_translation_model_has_three_kinds_and_all_of_them():
    counts = {at: one.count_pruned("heads") for at, one in choices_by_group(BOTH, "thirds").items()}
    assert counts == {
        ("bottom", "enc_self"): 4, ("middle", "enc_self"): 4, ("top", "enc_self"): 4,
        ("bottom", "dec_self"): 2, ("top", "dec_self"): 2,
        ("bottom", "enc_dec"): 2, ("top", "enc_dec"): 2,
        ("bottom", "all"): 8, ("middle", "all"): 4, ("top", "all"): 8,
    }  # fmt: skip
    each = choices_by_group(BOTH, "each")
    assert each["layer 2", "all"].count_pruned("heads") == 8 and ("layer 3", "enc_dec") not in each


def test_drops_are_correlated_with_numbers():
    row = row_of(drop_tests(rows(), metadata(size=SIZES)), "top", "size")
    tops = [drops[1] for drops in DROPS.values()]
    assert row["value"] == pytest.approx(spearmanr(tops, SIZES)[0])
    all_values = [spearmanr(order, SIZES)[0] for order in permutations(tops)]
    assert row["p"] == pytest.approx(np.mean(np.abs(all_values) >= abs(row["value"]) - 1e-9))
    assert row["smallest_p"] == pytest.approx(2 / 120)


def test_drops_are_compared_between_words():
    tests = drop_tests(rows(), metadata(order=ORDER))
    row = row_of(tests, "bottom", "order")
    assert row["value"] == pytest.approx(kruskal([0.1, 0.2, 0.5], [0.8, 0.6]).statistic)
    assert row["p"] == row["smallest_p"] == pytest.approx(2 / 10), "the lowest two, or the highest"
    assert row["means"] == "SVO 0.267, SOV 0.7"
    contrast = row_of(tests, CONTRAST, "order")
    expected = [[0.8, 0.5, -0.1], [-0.5, -0.5]]
    assert contrast["value"] == pytest.approx(kruskal(*expected).statistic)
    assert all(test["p_holm"] == pytest.approx(0.6) for test in tests), "three tests of p 0.2"


def test_a_confounded_column_is_named():
    columns = {"order": ORDER, "family": ("x", "x", "x", "y", "y"), "size": SIZES}
    tests = drop_tests(rows(), metadata(**columns))
    assert row_of(tests, "top", "order")["note"] == "order is confounded with family"
    assert "note" not in row_of(tests, "top", "size")
    assert summary(tests)[0].startswith("order: smallest p of 3 tests is 0.2, corrected")
    assert summary(tests)[0].endswith("order is confounded with family")


def test_unknown_facts_and_equal_drops_are_not_tested():
    facts = metadata(order=("SVO", "SOV", None, None, None), size=SIZES)
    assert row_of(drop_tests(rows(), facts), "top", "order")["note"] == "fewer than 3 languages"
    equal = [{**row, "relative_drop": 0.5} for row in rows()]
    tests = drop_tests(equal, facts)
    assert row_of(tests, "top", "size")["note"] == "all drops or all facts are equal"
    assert all("p" not in row for row in tests)
    assert summary(tests)[1] == "size: not tested: all drops or all facts are equal"


def test_facts_beside_the_drops():
    columns, joined = with_facts(rows(), metadata(order=ORDER, size=SIZES))
    assert columns[-2:] == ("order", "size") and joined[0]["size"] == 500.0
    with pytest.raises(LotteryError, match="has the column kind, which the results have, too"):
        with_facts(rows(), metadata(kind=ORDER))


@pytest.mark.slow
def test_the_command_on_a_trained_model(dense, tmp_path, capsys):
    """Three subsets stand for languages; values are those of heads curve and of fairseq."""
    pytest.importorskip("fairseq")
    model = str(dense / "checkpoint_last.pt")
    (tmp_path / "facts.tsv").write_text("language\tfamily\tsize\naa\tx\t3\nbb\ty\t5\ncc\ty\t7\n")
    subsets = ["aa=valid", "bb=test", "cc=train"]
    line = ["languages", "drops", model, *subsets, "--cpu", "--sentences", "20"]
    more = ["--metadata", str(tmp_path / "facts.tsv"), "--out", str(tmp_path / "drops")]
    assert main([*line, *more]) == 0
    printed = capsys.readouterr().out
    assert "how much worse it gets" in printed and "size: smallest p of" in printed
    with open(tmp_path / "drops/drops.csv") as file:
        found = list(csv.DictReader(file))
    # 2 layers: bottom and top of three kinds, and of all
    assert len(found) == 3 * 2 * 4
    for row in found:
        full, value, drop = (float(row[name]) for name in ("full", "value", "drop"))
        assert drop == pytest.approx(value - full)
        assert float(row["relative_drop"]) == pytest.approx(drop / full)
        assert row["size"] == {"aa": "3.0", "bb": "5.0", "cc": "7.0"}[row["language"]]
    (row,) = (r for r in found if (r["language"], r["group"], r["kind"]) == ("bb", "top", "all"))
    assert (row["pruned"], row["heads"]) == ("6", "12")

    curve = ["heads", "curve", model, "--strategies", "top", "--shares", "0.5", "--seeds", "1"]
    out = str(tmp_path / "curve.json")
    assert main([*curve, "--subset", "test", "--sentences", "20", "--cpu", "--out", out]) == 0
    curved = json.loads((tmp_path / "curve.json").read_text())
    assert curved["full"] == pytest.approx(float(row["full"]))
    assert curved["points"][0]["metric"] == pytest.approx(float(row["value"]))

    anatomy = Anatomy(curved_anatomy(tmp_path, model), {})
    choice = ComponentMask(anatomy, {"heads": {"encoder.layers.0.self_attn": [1]}})
    save_choice(tmp_path / "one.json", choice, {})
    capsys.readouterr()
    assert main([*line, "--choices", f"one={tmp_path / 'one.json'}", "--json"]) == 2
    assert "is for another model" in capsys.readouterr().err


def curved_anatomy(folder, model):
    """The heads of a model without its units, which is another model."""
    out = str(folder / "choice.json")
    assert main(["heads", "choose", "--of", model, "--strategy", "random", "--count", "1",
                 "--out", out]) == 0  # fmt: skip
    return json.loads((folder / "choice.json").read_text())["heads"]


@pytest.mark.slow
def test_choices_and_refusals(dense, tmp_path, capsys):
    pytest.importorskip("fairseq")
    model, out = str(dense / "checkpoint_last.pt"), str(tmp_path / "c.json")
    choose = ["heads", "choose", "--of", model, "--strategy", "bottom", "--types", "enc_dec"]
    assert main([*choose, "--count", "2", "--out", out]) == 0
    capsys.readouterr()
    line = ["languages", "drops", model, "aa=valid", "bb=test", "--cpu", "--sentences", "5"]
    assert main([*line, "--choices", f"two={out}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(r["language"], r["group"], r["kind"], r["pruned"]) for r in found["drops"]] == [
        ("aa", "two", "choice", 2), ("bb", "two", "choice", 2)
    ]  # fmt: skip
    for words, message in (
        (["aa=valid", "aa=test"], "aa is given twice"),
        (["aa=nothing"], "has no pairs of sentences in"),
        (["valid"], "'valid' is malformed; give LANGUAGE=SUBSET"),
        (["aa=valid", "--layers", "halves"], "--layers 'halves' is unknown"),
        (["aa=valid", "--metric", "wer"], "'wer' is unknown"),
        (["aa=valid", "--metadata", str(tmp_path / "no.tsv")], "cannot be read: No such file"),
    ):
        assert main(["languages", "drops", model, *words, "--cpu"]) == 2
        assert message in capsys.readouterr().err
