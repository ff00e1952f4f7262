"""Scores of a user's own."""

from fairseq_lottery.masks import needs


@needs("gradient")
def taylor(given):
    """|w * g|, with the gradients summed since the last step of the mask."""
    return (given.trained * given.gradient).abs()


def of_trained(given):
    """Ranks most of a matrix alike, so that ties decide."""
    return (given.trained > 0).float()


#: name -> what ``remembered`` was given last
SEEN = {}


def remembered(given):
    """The magnitude, and a note of what it is of."""
    SEEN[given.name] = given.trained.clone()
    return given.trained.abs()
