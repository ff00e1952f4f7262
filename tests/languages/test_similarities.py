"""Similarities of masks and of importance, and the command that tests them."""

import csv
import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from small import Run

from fairseq_lottery.cli.main import main
from fairseq_lottery.formats import save_ticket
from fairseq_lottery.formats.pair_masks import save_pair_masks
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.measures.score_table import save_scores
from fairseq_lottery.languages.similarities import similarities, square
from fairseq_lottery.masks import PairMasks, overlap

FACTS = "language\tfamily\tsize\naa\tx\t10\nbb\tx\t20\ncc\ty\t10\ndd\ty\t500\n"
ANATOMY = Anatomy({f"encoder.layers.{n}.self_attn": 4 for n in range(3)} |
                  {"decoder.layers.0.encoder_attn": 4}, {})  # fmt: skip


@pytest.fixture
def facts(tmp_path):
    (tmp_path / "facts.tsv").write_text(FACTS)
    return str(tmp_path / "facts.tsv")


@pytest.fixture
def tickets(tmp_path):
    run, files, masks = Run(tmp_path), {}, {}
    for seed, name in enumerate(("aa", "bb", "cc", "dd")):
        ticket = run.draw(score="random", seed=seed + 3, sparsity=(0.5, 0.5, 0.7, 0.7)[seed])
        files[name] = str(tmp_path / f"{name}.safetensors")
        masks[name] = ticket.mask
        save_ticket(files[name], ticket)
    return files, masks


@pytest.fixture
def scores(tmp_path):
    files, values = {}, {}
    for seed, name in enumerate(("aa", "bb", "cc", "dd")):
        own = torch.rand(16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        table = {"heads": dict(zip(ANATOMY.heads, own.split(4)))}
        files[name], values[name] = str(tmp_path / f"{name}.json"), own.numpy()
        save_scores(files[name], ANATOMY, table, {})
    return files, values


def words(files):
    return [f"{name}={path}" for name, path in files.items()]


def test_overlap_of_masks_is_that_of_compare_above_chance(tickets):
    files, masks = tickets
    measure, rows = similarities(files)
    assert measure == "above_chance" and len({(r["language"], r["other"]) for r in rows}) == 6
    for row in rows:
        name = "" if row["matrix"] == "all" else row["matrix"]
        jaccard, chance = overlap(masks[row["language"]], masks[row["other"]])[name]
        assert (row["overlap"], row["chance"]) == (jaccard, chance)
        assert row["above_chance"] == pytest.approx((jaccard - chance) / (1 - chance))
    table = square(list(files), rows, measure)
    jaccard, chance = overlap(masks["bb"], masks["dd"])[""]
    assert table.values[1, 3] == pytest.approx((jaccard - chance) / (1 - chance))
    assert abs(table.values[np.triu_indices(4, 1)]).max() < 0.05, "random masks"


def test_masks_of_pairs_in_one_file(tickets, tmp_path, capsys):
    files, masks = tickets
    path, pairs = str(tmp_path / "pairs.safetensors"), [f"en-{name}" for name in masks]
    save_pair_masks(path, PairMasks(dict(zip(pairs, masks.values()))))
    measure, rows = similarities(dict.fromkeys(pairs, path))
    table = square(pairs, rows, measure)
    assert (table.values == square(list(files), similarities(files)[1], measure).values).all()
    line = ["languages", "similarity", *(f"{pair}={path}" for pair in pairs)]
    (tmp_path / "facts.tsv").write_text(FACTS)
    assert main([*line, "--metadata", str(tmp_path / "facts.tsv")]) == 0
    assert "family:" in capsys.readouterr().out
    assert main([*line, f"de-aa={path}"]) == 2
    assert "de-aa" in capsys.readouterr().err


def test_agreement_of_importance_is_spearmans(scores):
    files, values = scores
    measure, rows = similarities(files)
    assert measure == "spearman"
    assert [row["part"] for row in rows[:3]] == ["all", "enc_self", "enc_dec"]
    for row in rows:
        part = {"all": slice(16), "enc_self": slice(12), "enc_dec": slice(12, 16)}[row["part"]]
        a, b = values[row["language"]][part], values[row["other"]][part]
        assert row["spearman"] == pytest.approx(spearmanr(a, b)[0])
        assert row["components"] == len(a)


def test_the_command_writes_pairs_and_tests(tickets, facts, tmp_path, capsys):
    files, _ = tickets
    line = ["languages", "similarity", *words(files), "--metadata", facts]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "0 is chance, 1 is the same mask" in printed and "family given size:" in printed
    with open(tmp_path / "out/tests.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["column"], row["given"]) for row in rows] == [
        ("family", ""), ("size", ""), ("family", "size"), ("size", "family")
    ]  # fmt: skip
    assert rows[0]["permutations"] == "24" and rows[0]["smallest_p"].startswith("0.333")
    record = json.loads((tmp_path / "out/analysis.json").read_text())
    assert record["command"] == "languages similarity" and record["inputs"]["files"] == words(files)
    assert main([*line, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tests"]) == 4
    assert main([*line, "--out", str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_table_of_another_program(facts, tmp_path, capsys):
    text = ",aa,bb,cc,dd\naa,1,.9,.1,.2\nbb,.9,1,.1,.2\ncc,.1,.1,1,.8\ndd,.2,.2,.8,1\n"
    (tmp_path / "square.csv").write_text(text.replace(",.", ",0."))
    line = ["languages", "similarity", "--table", str(tmp_path / "square.csv")]
    assert main([*line, "--metadata", facts]) == 0
    printed = capsys.readouterr().out
    assert "family: 0.850 within, 0.150 between: +0.700 (p = 0.333, smallest" in printed
    assert main([*line, "--metadata", facts, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["similarity"] == []


def test_one_sentence_for_other_inputs(tickets, scores, facts, tmp_path, capsys):
    files, tables = words(tickets[0]), words(scores[0])
    run = Run(tmp_path)
    for line, message in (
        ([], "give either LANGUAGE=FILE for each language, or --table"),
        ([*files, "--table", "x.csv"], "give either LANGUAGE=FILE"),
        ([*files[:2], *tables[2:]], "give masks of all languages, or scores"),
        (files[:2], "2 languages are given, expected from 3"),
        ([*files, files[0]], "aa is given twice"),
        (["aa"], "'aa' is malformed; give LANGUAGE=FILE"),
        ([*files, "ee=nothing.pt", "--metadata", facts], "has no row for ee"),
        ([*files, "ee=nothing.pt"], "there is no file nothing.pt"),
        ([*files[:3], f"dd={run.last}"], "is dense and has no mask"),
        ([*tables, "--kind", "units"], "have no scores for units"),
    ):
        assert main(["languages", "similarity", *line]) == 2, line
        assert message in capsys.readouterr().err
