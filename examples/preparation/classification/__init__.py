"""Tables of sentences with labels: GLUE and XNLI in the layout of fairseq's sentence_prediction.

``tasks`` says what GLUE's tables contain, ``glue`` and ``xnli`` take their examples from archives,
``examples`` writes inputs and labels as text, ``encoders`` cuts them into subwords, ``layout``
makes binary data of them, and ``job`` has the stages.
"""
