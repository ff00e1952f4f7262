"""Bad folders of runs: what a workflow keeps, and what reports and its next start read."""

import json
import shutil

from hostile.damage import garbage, places

PLAN = {
    "title": "Small task", "published": None, "recipe": {"architecture": "transformer",
    "updates": 1000},
    "techniques": [{"name": "dense", "title": "dense"}, {"name": "slt", "title": "SLT"}],
    "sparsities": [0.0, 0.9], "seeds": [1],
    "cells": [{"technique": "slt", "sparsity": 0.9, "seed": 1, "training": "seed1/slt"}],
    "configuration": "small.yaml", "keep": [], "gpus": 0, "threads": 1, "executor": "local",
    "stages": [
        {"name": "train-seed1-slt", "kind": "train", "folder": "seed1/slt", "title": "train",
         "command": ["true"], "needs": [], "leaves": ["seed1/slt/best.pt"], "facts": {}},
        {"name": "score-seed1-slt-best", "kind": "score", "folder": "seed1/slt/best",
        "title": "score",
         "command": ["true"], "needs": ["seed1/slt/best.pt"], "leaves": [],
         "facts": {"references": "/data/test.de", "evaluation":
                   {"name": "best", "checkpoint": "best", "subset": "test", "beam": 4}}},
    ],
}  # fmt: skip
WHO = {"technique": "slt", "sparsity": 0.9, "seed": 1, "training": "seed1/slt"}
SCORE = {
    "kind": "score", **WHO, "checkpoint": "best", "update": 980, "beam": 4, "lenpen": 0.6,
    "evaluation": "best", "subset": "test", "metric": "BLEU", "score": 26.6,
    "signature": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
    "run": "technique:slt", "pruned": 900, "prunable": 1000, "denominator": "all-matrices",
    "hypotheses": "hypotheses.txt", "references": "references.txt", "sentences": 2,
}  # fmt: skip
CURVE = {"kind": "curve", **WHO, "update": 250, "split": "valid", "metric": "loss", "value": 5.31}
MODEL = {"kind": "model", **WHO, "file": "best.pt", "checkpoint": "best", "matrices": {"w": 0.1}}
RECORDS = [SCORE, CURVE, MODEL]
TRAINED = {
    "stage": "train-seed1-slt", "command": ["true"], "seconds": 10.0,
    "versions": {"fairseq_lottery": "0.2.0"}, "content": {"flags": {}}, "selection": {},
    "measured": {"best": {"prunable": 1000, "matrices": {"w": 0.1}}},
    "curves": [{"split": "valid", "update": 250, "metric": "loss", "value": 5.31}],
}  # fmt: skip
SCORED = {"metric": "BLEU", "score": 26.6, "signature": "nrefs:1", "sentences": 2, "update": 980,
          "pruned": 900, "prunable": 1000, "denominator": "all-matrices"}  # fmt: skip
GOOD = {
    "plan.json": json.dumps(PLAN), "records.jsonl": "".join(json.dumps(r) + "\n" for r in RECORDS),
    "hypotheses.txt": "a\nb\n", "references.txt": "a\nb\n",
    "seed1/slt/train.json": json.dumps(TRAINED), "seed1/slt/best/score.json": json.dumps({
    "stage": "x"}),
    "seed1/slt/best/scores.jsonl": json.dumps(SCORED) + "\n",
}  # fmt: skip

#: texts of JSON that Python would take, or that no value is
STRANGE = {
    "nothing": "null", "true": "true", "a text": '"x\\n"', "an empty list": "[]", "a list": "[[1]]",
    "a mapping": '{"x": {}}', "negative": "-1", "a fraction": "1.5", "NaN": "NaN",
    "infinite": "Infinity",
    "1e999": "1e999", "beyond 64 bits": str(2**70), "400 digits": "9" * 400,
    "5000 digits": "9" * 5000,
    "half a character": '"\\ud800"', "a null byte": '"a\\u0000b"', "an escape": '"\\u001b[2J"',
    "a long text": '"' + "x" * 10**6 + '"', "deep": "[" * 5000 + "]" * 5000,
    "two names": '{"a": 1, "a": 2}',
}  # fmt: skip


def folder_with(**files):
    """The input that is a folder of a run with other files: text, what makes it, or None."""

    def make(place):
        run = place / "run"
        for name, text in {**GOOD, **files}.items():
            path = run / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(text):
                found = text(path.parent)
                if found != path and found.exists():
                    shutil.move(found, path)
            elif text is not None:
                path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return run

    return make


def with_value(value, text, *path):
    """JSON of a value in which the text of another one stands at ``path``."""
    found = json.loads(json.dumps(value))
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = ""
    return json.dumps(found).replace('""', text)


def paths_of(value, path=()):
    """Every place in a value that holds something."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value,
    list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from paths_of(inner, (*path, key))


def strange_values(value, name, fits, whole=lambda text: text):
    """Every strange text at every place of one file, the ones that fit there left out."""
    found = {}
    for path in paths_of(value):
        at = ".".join(map(str, path))
        for what, text in STRANGE.items():
            if not fits(path, what):
                found[f"{name}: {at} is {what}"] = folder_with(
                    **{name: whole(with_value(value, text, *path))}
                )
        if isinstance(path[-1], str):
            less = with_value(value, '"@"', *path).replace(f'"{path[-1]}": "@", ', "", 1)
            if '"@"' not in less and not fits(path, "missing"):
                found[f"{name}: without {at}"] = folder_with(**{name: whole(less)})
    return found


def of_files(name):
    """Something else than a file, no file, and no JSON."""
    file = name.rpartition("/")[2]
    found = {f"{name}: {what}": folder_with(**{name: make}) for what, make in garbage(GOOD[
    name].encode(), file).items()}
    odd = {"a name of 300 letters", "a path of 5000 letters", "a null byte in the name",
    "in a file",
           "a new line in the name", "an escape in the name", "half a character in the name",
           "in a locked folder"}  # fmt: skip
    for what, make in places(file).items():
        if what not in odd:
            found[f"{name}: {what}"] = folder_with(**{name: make})
    found[f"{name}: no UTF-8"] = folder_with(**{name: b"\xff\xfe" + GOOD[name].encode()})
    found[f"{name}: UTF-16"] = folder_with(**{name: GOOD[name].encode("utf-16")})
    return found
