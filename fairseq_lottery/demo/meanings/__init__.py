"""What a sentence of the demo's grammar means, and the English sentences that say it.

``meaning`` reads a meaning from labelled words, ``changes`` alters it, and ``english`` and
``styles`` say it: actively or passively, with its clauses in either order.
"""
