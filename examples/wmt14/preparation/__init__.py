"""The parts of ``prepare.py``: from WMT14's archives to fairseq's binary data.

``sources`` says what there is, ``download`` and ``archives`` bring it here, ``text``,
``subwords`` and ``google`` make training text of it, ``binary`` calls fairseq-preprocess, and
``ledger`` remembers which stages are finished.
"""
