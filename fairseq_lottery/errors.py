"""The one exception of the package."""


class LotteryError(ValueError):
    """Bad input: one sentence that says what is wrong and what to do.

    The command prints it and exits with 2; inside ``fairseq-train`` the same sentence
    ends the run before its first update.
    """
