import argparse
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.options import (
    DRAW,
    GROUPS,
    TRAINING,
    WORKFLOW,
    Prunable,
    Ranking,
    Reset,
    Seed,
    add_flags,
    changed,
    options,
    stored_values,
    values,
    words,
)
from fairseq_lottery.options.option import option

CHOSEN = (Ranking, Prunable, Reset, Seed)


@dataclasses.dataclass(frozen=True)
class Described(Seed, Reset, Prunable, Ranking):
    """Something that has its own field beside options."""

    own: int = 0


def a_value(one):
    if one.axis is not None:
        return st.sampled_from(list(one.axis.names))
    kinds = {
        float: st.integers(0, 10**6).map(lambda n: n / 10**6),
        int: st.integers(0, 10**9),
        str: st.text("abc.|()", min_size=1),
        bool: st.booleans(),
    }
    return st.none() | kinds[one.kind] if one.default is None else kinds[one.kind]


DESCRIBED = st.builds(Described, **{one.name: a_value(one) for one in options(*CHOSEN)})


@pytest.mark.parametrize("place", [DRAW, TRAINING])
@PROPERTY
@given(described=DESCRIBED)
def test_a_command_line_says_the_values_that_it_was_written_from(place, described):
    parser = argparse.ArgumentParser()
    add_flags(parser, *CHOSEN, place=place)
    parsed = parser.parse_args(words(described, *CHOSEN, place=place))
    assert values(parsed, *CHOSEN, place=place) == values(described, *CHOSEN)


@PROPERTY
@given(described=DESCRIBED, own=st.integers(0, 3))
def test_a_fingerprint_has_what_differs_from_the_defaults(described, own):
    described = dataclasses.replace(described, own=own)
    keys = {one.key(): one for one in options(*CHOSEN)}
    found = changed(described)
    assert found.pop("own", 0) == own
    assert found == {
        key: one.stored_value(getattr(described, one.name))
        for key, one in keys.items()
        if getattr(described, one.name) != one.default
    }
    assert "score" not in changed(described, without=("score",))


def test_what_is_at_its_default_leaves_a_fingerprint_alone():
    assert changed(Described()) == {}
    assert changed(Described(min_density=0.1, own=1)) == {"floor": 0.1, "own": 1}


def test_a_command_line_leaves_out_what_says_nothing():
    line = ["--prunable", "all-matrices"]
    assert words(Described(), Prunable, place=DRAW) == line
    assert words(Described(keep_dense=""), Prunable, place=DRAW) == line
    given = words(Described(keep_dense="a b"), Prunable, place=DRAW)
    assert given == [*line, "--keep-dense", "a b"]


def test_names_differ_between_places():
    (seed,) = options(Seed)
    assert (seed.flag_in(DRAW), seed.flag_in(TRAINING)) == ("--seed", "--draw-seed")
    assert (seed.key(), seed.key(TRAINING)) == ("seed", "draw_seed")
    cfg = argparse.Namespace(draw_seed=5)
    assert values(cfg, Seed, place=TRAINING) == {"seed": 5}
    assert stored_values(cfg, Seed, place=TRAINING) == {"draw_seed": 5}


@pytest.mark.parametrize("place", [DRAW, TRAINING, WORKFLOW])
def test_no_two_options_share_a_name_in_a_place(place):
    found = options(*GROUPS, place=place)
    assert len({one.name_in(place) for one in found}) == len(found)
    assert len({one.key(place) for one in found}) == len(found)


def test_help_can_be_shown_by_argparse():
    for one in options(*GROUPS):
        assert "%" not in one.text and one.text.isprintable()


def test_a_default_of_the_configuration_stays_out_of_fingerprints():
    """A new option leaves the fingerprints of before alone, whatever its default elsewhere."""

    @dataclasses.dataclass(frozen=True)
    class Group:
        share: float = option("a share", 0.5, defaults={WORKFLOW: 0.7})
        count: int = option("a count", 3)

    assert changed(Group(share=0.7)) == {}
    assert changed(Group(share=0.5, count=4)) == {"share": 0.5, "count": 4}
