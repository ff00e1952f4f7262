"""Tasks for an encoder, made of the demo's English: text to pre-train on, and labelled examples.

Each task is a function in a module of its own kind; ``examples`` draws balanced parts of it,
``documents`` draws the text to pre-train on, and ``prepare`` converts all to binary data.
"""
