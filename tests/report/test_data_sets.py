"""Plans with several data sets: each has groups, tables and directions of its own."""

import pytest
from report.made import Made, score_record
from report.made_data_sets import MadeDataSets

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.report import gather, read_run
from fairseq_lottery.report.reading.families import families, title_of_plan, views
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.tables.score_tables import metric_table


def groups_of(*made):
    return gather([read_run(each.write()) for each in made])


def key(metric):
    return Evaluation("valid", "best", metric)


def test_each_data_set_has_a_group_of_its_own(tmp_path):
    made = MadeDataSets(tmp_path / "run", sources=["masked-words", "agreement"]).score()
    groups = groups_of(made)
    assert [group.data_set.name for group in groups] == list(made.data_sets)
    assert [group.number for group in groups] == [1, 2, 3, 4]
    first, *_, last = groups
    assert first.title == "Made tasks, acceptability" and first.slug == "1-acceptability"
    assert last.recipe["task"] == "masked_lm" and last.data_set.task == "masked_lm"
    assert first.values(key("mcc"), "dense", 0.0) == [53.0, 54.0, 55.0]
    assert last.values(key("loss"), "dense", 0.0) == pytest.approx([2.48, 2.5, 2.52])
    assert list(first.techniques) == [
        "imp", "random", "pruned-before", "transfer-masked-words", "transfer-agreement",
    ]  # fmt: skip
    assert first.sources == {
        "transfer-masked-words": "masked-words", "transfer-agreement": "agreement",
    }  # fmt: skip
    assert first.sparsities == (0.5, 0.7) and first.seeds == (1, 2, 3)
    assert len(first.planned) == 3 * (1 + 5 * 2)
    assert ("imp", 0.5, 1) in first.keeps_start and ("dense", 0.0, 1) not in first.keeps_start
    assert title_of_plan(groups) == "Made tasks"


def test_directions_are_those_of_the_records(tmp_path):
    groups = {g.data_set.name: g for g in groups_of(MadeDataSets(tmp_path / "run").score())}
    (mcc,), (loss,) = groups["acceptability"].tables, groups["masked-words"].tables
    assert not mcc.lower_is_better and loss.lower_is_better
    assert groups["acceptability"].decimals(mcc) == 1 and groups["masked-words"].decimals(loss) == 3
    table = metric_table(groups["masked-words"], loss)
    assert table.rows[0][1] == "2.500 ± 0.020"
    assert "5,000 examples." in table.notes and "Less is better." in table.notes
    assert "400 examples." in metric_table(groups["acceptability"], mcc).notes


@pytest.mark.parametrize(
    ("metric", "score", "maximise", "digits", "is_lower"),
    [
        ("mcc", 0.0, True, 1, False),  # a model that learnt nothing, still in percent
        ("perplexity", 80.0, False, 3, True),
        ("loss", 2.5, True, 3, False),  # the record is believed
        ("BLEU", 0.4, True, 1, False),
        ("TER", 60.0, None, 1, True),
        ("own", 0.4, None, 3, False),
        ("own", 40.0, None, 1, False),
    ],
)
def test_decimals_and_directions(tmp_path, metric, score, maximise, digits, is_lower):
    made = Made(tmp_path / "a")
    made.records.append(score_record(metric=metric, score=score, maximise=maximise))
    made.records.append(score_record(metric=metric, score=score, seed=2))  # an older record
    (group,) = groups_of(made)
    (table,) = group.tables
    assert (group.decimals(table), table.lower_is_better) == (digits, is_lower)
    assert len(group.tables[table]) == 2


def test_equal_recipes_do_not_join_data_sets(tmp_path):
    made = MadeDataSets(tmp_path / "run").score()
    assert made.plan["data_sets"][0]["recipe"] == made.plan["data_sets"][1]["recipe"]
    assert len(groups_of(made)) == 4


def test_seeds_in_two_folders_share_the_tables_of_a_data_set(tmp_path):
    one = MadeDataSets(tmp_path / "a", seeds=(1,)).score()
    two = MadeDataSets(tmp_path / "b", seeds=(2, 3)).score()
    groups = groups_of(one, two)
    assert len(groups) == 4 and groups[0].values(key("mcc"), "dense", 0.0) == [53.0, 54.0, 55.0]
    other = MadeDataSets(tmp_path / "c", seeds=(2, 3), title="Other").score()
    other.plan["data_sets"][0]["recipe"]["updates"] = 7
    groups = groups_of(one, other)
    assert len(groups) == 8 and len(families(groups)) == 2
    assert [family.slug for family in families(groups)] == ["plan1", "plan2"]
    assert title_of_plan(groups) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("other", "has imp of data set other, which plan.json does not list"),
        (None, "has imp of no data set, which plan.json does not list"),
    ],
)
def test_a_record_of_an_unknown_data_set_is_refused(tmp_path, data, said):
    made = MadeDataSets(tmp_path / "run").score()
    next(r for r in made.records if r["technique"] == "imp")["data"] = data
    with pytest.raises(LotteryError, match=said):
        groups_of(made)
    made = Made(tmp_path / "plain")
    made.records.append(score_record(data="other"))
    with pytest.raises(LotteryError, match="slt of data set other"):
        groups_of(made)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"examples": 399}, "is over 399 examples and of dense at 0, seed 1 over 400"),
        ({"maximise": False}, "have opposite directions; report them apart"),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(tmp_path, changes, said):
    made = MadeDataSets(tmp_path / "run").score()
    next(r for r in made.records if r["technique"] == "imp").update(changes)
    with pytest.raises(LotteryError, match=said):
        groups_of(made)


def test_views_are_first_metrics_and_then_shared_ones(tmp_path):
    metrics = {"acceptability": ("mcc", "accuracy"), "agreement": ("accuracy", "f1"),
               "similarity": ("pearson",), "masked-words": ("loss",)}  # fmt: skip
    made = MadeDataSets(tmp_path / "run").score(metrics=metrics)
    (family,) = families(groups_of(made))
    found = [{name: k.metric for name, k in view.keys.items()} for view in views(family)]
    assert found == [
        {"acceptability": "mcc", "agreement": "accuracy", "similarity": "pearson",
         "masked-words": "loss"},
        {"acceptability": "accuracy", "agreement": "accuracy"},
    ]  # fmt: skip
    assert [view.slug for view in views(family)] == ["best", "accuracy-best"]
    assert views(family)[0].title == "mcc, accuracy, pearson, loss: best checkpoint"


def test_one_data_set_is_no_family(tmp_path):
    made = Made(tmp_path / "a").score()
    assert families(groups_of(made)) == []
    one = {"acceptability": MadeDataSets.__init__.__defaults__[0]["acceptability"]}
    groups = groups_of(MadeDataSets(tmp_path / "b", data_sets=one).score())
    assert families(groups) == [] and groups[0].slug == ""
