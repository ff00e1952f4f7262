"""Six small languages that say what the demo's English says.

``language_table`` has their families, orders and sizes, ``vocabulary`` their words and affixes,
``grammar`` their sentences, and ``prepare`` converts the text to fairseq's binary data.
"""
