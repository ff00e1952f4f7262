"""The parts of every ``examples/*/prepare.py``: from archives to fairseq's binary data.

``sources`` reads the description of archives, ``download`` and ``archives`` bring their text here,
``tables``, ``text`` and ``subwords`` make training text of it, ``binary`` calls fairseq-preprocess,
``ledger`` remembers which stages are finished, and ``command`` has what all command lines share.
The subpackages ``wmt14``, ``classification`` and ``many_languages`` have what single examples need.
"""
