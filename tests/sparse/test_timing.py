"""What is timed, in which order, and for how long: by a clock that the ways themselves move."""

import pytest

from fairseq_lottery.sparse.matrix_choices import least_seconds


class Machine:
    """Ways that take given seconds, one after the other."""

    def __init__(self, **taken):
        self.now, self.log = 0.0, []
        self.taken = {name: iter(seconds) for name, seconds in taken.items()}

    def ways(self):
        return {name: lambda name=name: self.go(name) for name in self.taken}

    def go(self, name):
        self.log.append(name)
        self.now += next(self.taken[name])


def test_the_least_of_what_came_after_the_first():
    machine = Machine(dense=[0, 5, 3, 4], sparse=[9, 2, 8, 8])
    assert least_seconds(machine.ways(), 0, lambda: machine.now) == {"dense": 3, "sparse": 2}
    assert machine.log == ["dense", "sparse"] * 4


@pytest.mark.parametrize("each, turns", [(1.0, 3), (0.03, 3), (0.01, 10), (0.001, 50)])
def test_bounded_in_time_and_in_turns(each, turns):
    """A turn takes two of ``each``, and so does going once before."""
    machine = Machine(dense=[each] * 99, sparse=[each] * 99)
    least_seconds(machine.ways(), 0.2 + each, lambda: machine.now)
    assert len(machine.log) == 2 * (turns + 1)
