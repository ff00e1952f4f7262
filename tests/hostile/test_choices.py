"""Choices and scores of heads and units that anybody may have written."""

import json

import pytest
from hostile import choices, watch
from hostile.damage import written

from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.score_table import grid, load_scores


def read_parts(path):
    """A choice and its record; what was read is one that could be written."""
    parts, record = load_choice(path)
    plain = parts.to_json()
    assert (
        ComponentMask(Anatomy(plain["heads"], plain["units"]), plain["closed"], plain["mode"])
        == parts
    )
    shown = [line for name, keep in parts["heads"].items() for line in grid({name: keep})]
    return json.dumps([plain, shown, record], allow_nan=False)


def read_scores(path):
    """Scores and their record; the grid can be shown."""
    anatomy, scores, record = load_scores(path)
    plain = {kind: {n: v.tolist() for n, v in found.items()} for kind, found in scores.items()}
    shown = list(grid(scores.get("heads", {})))
    heads = [dict(anatomy.heads), dict(anatomy.units)]
    return json.dumps([heads, plain, shown, record], allow_nan=False)


@pytest.mark.parametrize("kind, read", [("parts", read_parts), ("scores", read_scores)])
def test_every_bad_file_is_refused_in_one_sentence(tmp_path, kind, read):
    (tmp_path / "good").mkdir()
    path = written(choices.text_of(kind).encode(), choices.NAME)(tmp_path / "good")
    inputs, other = choices.all_of(kind)
    outcomes = watch.run(read, inputs, tmp_path, read(path), signed=other)
    found = watch.judged(kind, outcomes, least=500)
    assert found["another"] < 130  # a digit, or a letter of a name
