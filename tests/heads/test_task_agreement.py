"""Agreement of choices within tasks and between them, against counting and scipy."""

import json

import numpy as np
import pytest
from scipy.stats import hypergeom

from fairseq_lottery.cli.main import main
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.stability import agreement
from fairseq_lottery.heads.choices.task_agreement import between_tasks, task_agreement
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask

MODULES = [f"encoder.sentence_encoder.layers.{n}.self_attn" for n in range(3)]
ANATOMY = Anatomy(dict.fromkeys(MODULES, 4), {})


def table(*kept, components=12):
    """Components by choices, of the numbers that each choice keeps."""
    return np.stack([np.isin(np.arange(components), one) for one in kept], axis=1)


def choice(*kept):
    pruned = {
        name: [n for n in range(4) if 4 * place + n not in kept]
        for place, name in enumerate(MODULES)
    }
    return ComponentMask(ANATOMY, {"heads": pruned})


def test_the_index_is_the_mean_over_pairs_of_two_tasks():
    """{0, 1} and {0, 2} with {0, 1}: 1 and 1/3; all three keep 0."""
    result = between_tasks("a", "b", table([0, 1], [0, 2]), table([0, 1]), 50)
    assert result.jaccard == pytest.approx((1 + 1 / 3) / 2) and result.shared == 1
    assert (result.first, result.second) == ("a", "b")
    assert between_tasks("a", "b", table([]), table([]), 5).jaccard == 1


def test_chance_is_the_mean_of_random_sets_of_these_sizes():
    """By the hypergeometric distribution of the components that two sets share."""
    a, b = table([0, 1, 2, 3, 4]), table([5, 6, 7])
    expected = sum(hypergeom.pmf(k, 12, 5, 3) * k / (8 - k) for k in range(4))
    result = between_tasks("a", "b", a, b, 4000)
    assert result.chance == pytest.approx(expected, abs=0.01)
    assert result.jaccard == 0 and result.jaccard_p == 1  # no draw has less


def test_equal_choices_are_unlikely_and_independent_ones_are_not():
    own = table(*[range(6)] * 3)
    assert between_tasks("a", "b", own, own, 400).jaccard_p == pytest.approx(1 / 401)
    draw = np.random.default_rng(1)
    values = [
        between_tasks(
            f"a{n}", "b", table(draw.permutation(12)[:6]), table(draw.permutation(12)[:6]), 100
        ).jaccard_p
        for n in range(200)
    ]
    assert np.mean(np.array(values) <= 0.05) <= 0.08


def test_all_tasks_of_a_model():
    choices = {
        "cola": [choice(0, 1, 2, 3), choice(0, 1, 2, 4)],
        "rte": [choice(0, 1, 8, 9)],
        "mnli": [choice(5, 6, 7), choice(5, 6, 7)],
    }
    result = task_agreement(choices, permutations=20)
    assert list(result.within) == ["cola", "mnli"]  # rte has one seed
    assert result.within["cola"] == agreement(choices["cola"], permutations=20)
    pairs = {(one.first, one.second): one for one in result.between}
    assert list(pairs) == [("cola", "rte"), ("cola", "mnli"), ("rte", "mnli")]
    assert pairs["cola", "rte"].jaccard == pytest.approx(2 / 6)
    assert pairs["cola", "rte"].shared == 2 and pairs["cola", "mnli"].jaccard == 0
    other = ComponentMask(Anatomy(dict.fromkeys(MODULES, 2), {}), {})
    with pytest.raises(LotteryError, match="different models"):
        task_agreement({"cola": choices["cola"], "other": [other]})


def test_the_command_names_tasks(tmp_path, capsys):
    files = []
    for task, kept in (("cola", [0, 1, 2]), ("cola", [0, 1, 3]), ("rte", [0, 8]), ("rte", [0, 9])):
        path = tmp_path / f"{task}{len(files)}.json"
        save_choice(path, choice(*kept), {})
        files.append(f"{task}={path}")
    assert main(["heads", "compare", *files, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["within"]["cola"]["jaccard"] == 0.5
    (pair,) = result["between"]
    assert pair["first"] == "cola" and pair["jaccard"] == pytest.approx(1 / 4)
    assert pair["shared"] == 1
    assert main(["heads", "compare", *files]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1][0] == "cola" and lines[1][3] == "0.500" and lines[1][-1] == "2"
    assert lines[-1][:3] == ["cola", "rte", "0.250"] and lines[-1][-1] == "1"


@pytest.mark.parametrize("files", [["a=x.json", "y.json"], ["a=x.json", "a=y.json"]])
def test_arguments_without_tasks_are_refused(files, capsys):
    assert main(["heads", "compare", *files]) == 2
    assert "every choice as TASK=FILE, of at least two tasks" in capsys.readouterr().err
