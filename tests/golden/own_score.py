"""A score of a user's own, as ``docs/extending.md`` shows one: it needs summed gradients."""

from fairseq_lottery.masks import needs


@needs("gradient")
def saliency(given):
    """|w * gradient|: Molchanov et al. (2017)."""
    return (given.trained * given.gradient).abs()
