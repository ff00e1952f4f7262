from workflow.made import Work

from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.planning.graph import find_dependencies, updates_ahead


def stage(name, needs="", leaves="", updates=0):
    """A stage of one letter; trains where it has updates."""
    kind = "train" if updates else "draw"
    return Stage(
        kind, name, name, (), tuple(needs.split()), tuple(leaves.split()),
        {"updates": updates} if updates else {},
    )  # fmt: skip


#: a trains for b and c, both lead to e; d stands alone
GRAPH = (
    stage("a", "", "1 2", updates=1000),
    stage("b", "1", "3"),
    stage("c", "2", "4", updates=200),
    stage("d", "", "", updates=50),
    stage("e", "3 4", "5"),
)


def test_who_waits_for_whom():
    assert list(find_dependencies(GRAPH).values()) == [
        [], ["train-a"], ["train-a"], [], ["draw-b", "train-c"]
    ]  # fmt: skip


def test_what_is_finished_is_not_waited_for():
    assert list(find_dependencies(GRAPH[1:]).values()) == [[], [], [], ["draw-b", "train-c"]]


def test_updates_on_the_longest_way():
    # c and then e; what does not train counts 1
    assert updates_ahead(GRAPH) == {
        "train-a": 1201, "draw-b": 2, "train-c": 201, "train-d": 50, "draw-e": 1,
    }  # fmt: skip


def test_a_chain_comes_before_single_trainings(tmp_path):
    work = Work(tmp_path, "slt", "mp", sparsities=[0.5, 0.9])
    ahead = updates_ahead(work.stages)
    of = {cell.name: ahead[work.stage("train", cell.technique, cell.sparsity).name]
          for cell in work.plan.cells}  # fmt: skip
    # each training of 1,000, a draw between two, and translating and scoring at the end
    assert of == {
        "dense@0#1": 3004, "slt@0.5#1": 2003, "slt@0.9#1": 1002,
        "mp@0.5#1": 1002, "mp@0.9#1": 1002,
    }  # fmt: skip
