"""A translation task that a small Transformer learns in minutes, and the workflow on it.

``text`` and the modules it stands on make up an English-like and a German-like language,
``prepare`` brings them into fairseq's form, and ``demo.yaml`` is the configuration.
"""
