import pytest
from report.made import RECIPE, Made, score_record

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.report import gather, read_run
from fairseq_lottery.report.reading.table_words import Evaluation, slug

BLEU = Evaluation("test", "best-beam4-lenpen0.6", "BLEU")


def run(folder, *records, **plan):
    made = Made(folder)
    made.plan.update(plan)
    made.records += records
    return read_run(made.write())


def test_seeds_in_two_folders_share_a_table(tmp_path):
    one = run(tmp_path / "a", score_record(score=26.0))
    two = run(tmp_path / "b", score_record(score=27.0, seed=2), seeds=[2])
    (group,) = gather([one, two])
    assert group.values(BLEU, "slt", 0.9) == [26.0, 27.0]
    assert group.seeds == (1, 2) and group.slug == ""
    assert len(group.planned) == 2 * (1 + 3 * 2)


def test_a_plan_that_lists_its_cells_is_believed(tmp_path):
    cells = [{"technique": "slt", "sparsity": 0.9, "seed": 1, "training": "t"}]
    (group,) = gather([run(tmp_path / "a", score_record(), cells=cells)])
    assert group.planned == {("slt", 0.9, 1)}


def test_the_same_cell_twice(tmp_path):
    one = run(tmp_path / "a", score_record(score=26.0))
    (group,) = gather([one, run(tmp_path / "b", score_record(score=26.0))])
    assert group.values(BLEU, "slt", 0.9) == [26.0], "the same number is no second seed"
    with pytest.raises(LotteryError) as caught:
        gather([one, run(tmp_path / "c", score_record(score=26.5))])
    assert str(caught.value) == (
        f"{tmp_path}/a and {tmp_path}/c both have BLEU of slt at 0.9, seed 1"
        " (best-beam4-lenpen0.6, test), 26.00 and 26.50; omit one of them"
    )


def test_recipes_never_share_a_table(tmp_path):
    one = run(tmp_path / "a", score_record(score=26.0))
    two = run(tmp_path / "b", score_record(score=27.0), recipe={**RECIPE, "updates": 2000})
    first, second = gather([one, two])
    assert first.values(BLEU, "slt", 0.9) == [26.0] and second.values(BLEU, "slt", 0.9) == [27.0]
    assert [first.title, second.title] == ["Small task (updates 1000)", "Small task (updates 2000)"]
    assert [first.slug, second.slug] == [
        "1-small-task-updates-1000",
        "2-small-task-updates-2000",
    ]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"signature": "nrefs:1|tok:none"}, "has the signature nrefs:1|case:mixed"),
        ({"denominator": "no-embeddings", "technique": "slt", "sparsity": 0.9}, "is a share of"),
    ],
)
def test_what_cannot_stand_in_one_table_is_refused(tmp_path, changes, said):
    other = {"seed": 2, "technique": "mp", **changes}
    with pytest.raises(LotteryError) as caught:
        gather([run(tmp_path / "a", score_record(), score_record(**other))])
    assert said in str(caught.value) and str(caught.value).endswith("report them apart")


def test_a_score_over_a_part_of_the_test_set_is_refused(tmp_path):
    whole, part = score_record(sentences=1014), score_record(seed=2, sentences=1008)
    with pytest.raises(LotteryError) as caught:
        gather([run(tmp_path / "a", whole, part)])
    assert str(caught.value) == (
        "BLEU (best-beam4-lenpen0.6, test) of slt at 0.9, seed 2 is over 1,008 sentences and of slt"
        " at 0.9, seed 1 over 1,014; a score over a part of the test set is not comparable"
    )
    unknown = score_record(seed=3, sentences=None)
    (group,) = gather([run(tmp_path / "b", whole, unknown)])
    assert len(group.values(BLEU, "slt", 0.9)) == 2


def test_other_references_are_refused(tmp_path):
    one = run(tmp_path / "a", score_record())
    two = run(tmp_path / "b", score_record(seed=2))
    (two.folder / "references.test.txt").write_text("another text\n")
    with pytest.raises(LotteryError, match="have different references; report them apart"):
        gather([one, two])


def test_different_evaluations_are_different_tables(tmp_path):
    other = score_record(evaluation="last-beam5-lenpen1", score=20.0)
    (group,) = gather([run(tmp_path / "a", score_record(), other, score_record(metric="TER"))])
    assert [(key.evaluation, key.metric) for key in group.tables] == [
        ("best-beam4-lenpen0.6", "BLEU"),
        ("last-beam5-lenpen1", "BLEU"),
        ("best-beam4-lenpen0.6", "TER"),
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("best-beam4-lenpen1", "best checkpoint, beam 4"),
        ("last-beam5-lenpen0.6-valid", "last checkpoint, beam 5, length penalty 0.6"),
        ("average5-beam4-lenpen1", "average of 5 checkpoints, beam 4"),
        ("best", "best checkpoint"),
        ("something else", "something else"),
    ],
)
def test_evaluations_in_words(name, words):
    assert Evaluation("test", name, "BLEU").title == f"BLEU on test: {words}"


def test_names_of_files():
    assert slug("BLEU-test-best-beam4-lenpen0.6") == "bleu-test-best-beam4-lenpen0-6"
    assert slug("../..") == "run"
