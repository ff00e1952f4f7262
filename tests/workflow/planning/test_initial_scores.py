from fairseq_lottery.options.axes import INITIAL_SCORES
from fairseq_lottery.saliency import SALIENCIES


def test_plans_know_the_scores_that_are_computed_before_the_first_update():
    assert set(INITIAL_SCORES) == set(SALIENCIES)
