import pytest

from fairseq_lottery import options
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import axes

AXES = [one for one in vars(axes).values() if isinstance(one, axes.Axis)]


def test_every_axis_belongs_to_an_option():
    used = [one.axis for one in options.options(*options.GROUPS) if one.axis is not None]
    assert sorted(axis.title for axis in used) == sorted(axis.title for axis in AXES)


def test_registries_have_the_names_of_their_axes_in_their_order():
    pytest.importorskip("torch")
    from fairseq_lottery import heads, masks, tickets

    for registry, axis in (
        (masks.SCORES, axes.SCORE),
        (masks.SCOPES, axes.SCOPE),
        (masks.PRUNABLE_SETS, axes.PRUNABLE),
        (masks.SCHEDULES, axes.SCHEDULE),
        (tickets.RESETS, axes.RESET),
        (tickets.ALPHAS, axes.ALPHA),
        (heads.MEASURES, axes.MEASURE),
        (heads.STRATEGIES, axes.STRATEGY),
    ):
        assert list(registry) == list(axis.names)


@pytest.mark.parametrize(
    "names, message",
    [
        (["cubic", "linear"], "the schedule one-shot is missing in its registry; add it there"),
        (["cubic", "linear", "one-shot", "x"], "the schedule x is missing in its axis; add it"),
    ],
)
def test_a_name_that_is_missing_on_either_side_is_an_error(names, message):
    with pytest.raises(ImportError, match=message):
        axes.SCHEDULE.registry(dict.fromkeys(names))


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.title)
def test_names_are_taken_and_others_are_refused(axis):
    for name in axis.names:
        axis.refuse_unknown(name)
    for value in ("", "nothing", None, 1, [*axis.names]):
        with pytest.raises(LotteryError) as error:
            axis.refuse_unknown(value)
        message = f"there is no {axis.title} {value!r}; choose one of {axis.choices}"
        assert str(error.value) == message


@pytest.mark.parametrize("axis, value", [(axes.SCORE, "mine:score"), (axes.SCOPE, "2:4")])
def test_an_axis_may_take_more_than_names(axis, value):
    axis.refuse_unknown(value)
    assert axis.others in axis.choices and axis.others in axis.lines
