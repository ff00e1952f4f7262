"""A workflow of a multilingual model, which is scored on each pair of languages."""

import json
import subprocess

import pytest

pytest.importorskip("fairseq")
pytest.importorskip("snakemake")

import languages
from whole import ALONE, configure, pending, run, scores

pytestmark = pytest.mark.slow

TRAIN = " ".join(languages.MODEL) + (
    f" {' '.join(languages.DATA)} --optimizer masked_adam --lr 3e-3 --lr-scheduler inverse_sqrt"
    " --warmup-updates 10 --criterion label_smoothed_cross_entropy_lottery --label-smoothing 0.1"
    " --max-tokens 500 --clip-norm 1.0 --num-workers 0 --log-interval 10 --max-update 20"
    " --validate-interval-updates 10 --save-interval-updates 10"
)


def test_each_pair_has_a_score_against_its_own_references(tmp_path):
    languages.preprocess(tmp_path)
    # the second pair is in the data folder in the other direction
    evaluate = [
        {"pair": pair, "beam": 2, "references": f"test.{files}.{pair.split('-')[1]}"}
        for pair, files in (("en-de", "en-de"), ("fr-en", "en-fr"))
    ]
    keys = {
        "task": "translation_multi_simple_epoch", "references": None, "train": TRAIN,
        "generate": "--encoder-langtok tgt --decoder-langtok --max-len-b 20",
        "techniques": ["slt"], "evaluate": evaluate,
    }  # fmt: skip
    path = configure(tmp_path, tmp_path / "bin", **keys)
    script = run(path, "--emit", "bash", "--jobs", 2).stdout
    done = subprocess.run(["bash", "-s"], input=script, env=ALONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert pending(path)["stages"] == 0
    lines = (tmp_path / "runs/records.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["kind"] == "score"]
    assert {(row["technique"], row["subset"]) for row in rows} == {
        (technique, f"test.{pair}") for technique in ("dense", "slt") for pair in ("en-de", "fr-en")
    }
    for row in rows:
        language = row["subset"][-2:]
        references = (tmp_path / row["references"].removeprefix("../")).read_text().splitlines()
        translations = (tmp_path / "runs" / row["hypotheses"]).read_text().splitlines()
        assert row["sentences"] == len(references) == len(translations) == 20
        assert row["references"].endswith(f".{language}")
        assert not any(f"__{language}__" in line for line in translations), "fairseq strips it"
    assert scores(tmp_path / "runs")["slt", 0.5]["pruned"] > 0

    swapped = [{**entry, "references": evaluate[1 - n]["references"]}
               for n, entry in enumerate(evaluate)]  # fmt: skip
    other = configure(tmp_path, tmp_path / "bin", **{**keys, "evaluate": swapped})
    refused = run(other, "--out", tmp_path / "other", code=2).stderr
    assert "reference" in refused and refused.count("\n") == 1
