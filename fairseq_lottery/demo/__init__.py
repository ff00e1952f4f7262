"""The demo: an invented translation task, a dense Transformer, and its lottery tickets.

``language`` draws the parallel text, ``plan`` says which runs the table needs, ``stages`` which
commands make them, and ``runner`` runs those. ``results``, ``report`` and ``plot`` turn what they
leave into ``results.json``, ``results.md`` and ``results.png``.
"""

from fairseq_lottery.demo.language import corpus, draw_sentence
from fairseq_lottery.demo.plan import Recipe, Run, runs

__all__ = ["Recipe", "Run", "corpus", "draw_sentence", "runs"]
