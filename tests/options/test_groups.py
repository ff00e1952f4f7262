import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import check_scope


@pytest.mark.parametrize(
    "scope, density", [("layer", 0), ("2:4", 0), ("global", 0.5), ("global", 0.99)]
)
def test_a_scope_with_its_minimum_density(scope, density):
    check_scope(scope, density)


@pytest.mark.parametrize(
    "scope, density, message",
    [
        ("matrix", 0, "there is no scope 'matrix'; choose one of layer, global"),
        ("layer", 0.1, "the minimum density 0.1 requires scope global, not layer; leave it out"),
        ("global", -0.1, "the minimum density -0.1 is outside .0, 1.;"),
        ("global", 1, "the minimum density 1 is outside .0, 1.;"),
        ("global", float("nan"), "the minimum density nan is outside .0, 1."),
    ],
)
def test_what_does_not_fit_is_refused(scope, density, message):
    with pytest.raises(LotteryError, match=message):
        check_scope(scope, density)
