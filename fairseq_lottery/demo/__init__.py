"""A translation task that a small Transformer learns in minutes, with its workflow.

``language`` and the modules that it imports invent an English-like and a German-like language,
``prepare`` converts the text to fairseq's binary data, and ``demo.yaml`` is the configuration.
"""
